"""Live drift is found beside deployments, and said once per column and day."""

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.datasets.reference import PATH, describe
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.inference_log.drift_checks import DriftChecks
from receiver.core.state import Slot
from serving.model.loader import Cache
from tests.support.flow import MODEL, Flow
from tests.support.request_logs import request_log
from tests.support.segments import record

SLOT = Slot("staging", MODEL)


class Drifting:
    """Version 1 serves in staging, and was trained with ages around 40."""

    def __init__(self, state: Path, log: str = "log: {}\n", gate: str = "") -> None:
        self.state = state
        self.flow = Flow(state)
        self.flow.register(1)
        files = self.flow.files(1, None)
        text = files["environments/staging.yaml"].decode() + log
        files["environments/staging.yaml"] = text.replace("port: 8000", f"port: 8000{gate}").encode()
        self.flow.source.commit(files)
        self.flow.run()
        LogDirectories(state).prepare(SLOT)
        verified = self.flow.journal.verified()[SLOT]
        assert verified.digest is not None
        path = Cache(state / "cache").path_of(verified.digest)
        ages = np.random.default_rng(1).normal(40, 10, 2000)
        (path / PATH).parent.mkdir(parents=True)
        (path / PATH).write_text(describe(pd.DataFrame({"age": ages}), "sha256:rows").to_json())

    def ask(self, mean: float) -> None:
        ages = np.random.default_rng(2).normal(mean, 10, 500).tolist()
        asked = record(rows=[[age] for age in ages], labels=["stay"] * 500, probabilities=None)
        request_log(self.state, [asked], [("age", "double")], SLOT, version=1)

    def check(self) -> list[str]:
        """Check anew, as an hour later; returns the titles of all notifications about drift."""
        DriftChecks(self.state, self.flow.journal, self.flow.services.outbox).run(threading.Event())
        rows = self.flow.database.connection().execute("SELECT body FROM outbox ORDER BY id").fetchall()
        titles = [json.loads(row[0]).get("title", "") for row in rows]
        return [title for title in titles if "has changed" in title]


def test_a_column_that_changed_is_notified_once_a_day(tmp_path: Path) -> None:
    drifting = Drifting(tmp_path)
    drifting.ask(60)
    titles = [f"What {MODEL} v1 in staging is asked has changed: age"]
    assert drifting.check() == titles
    assert drifting.check() == titles
    with drifting.flow.database.transaction() as db:
        assert db.execute("UPDATE published_once SET key = replace(key, '-', '.') WHERE key LIKE 'drift %'").rowcount
    assert drifting.check() == titles * 2
    assert drifting.flow.serving()["staging"] == 1


def test_the_gates_own_limits_count(tmp_path: Path) -> None:
    drifting = Drifting(tmp_path, gate=", gate: {drift: {psi: {max: 0.001}}}, override: {version: 1, reason: try}")
    drifting.ask(41)
    assert len(drifting.check()) == 1


@pytest.mark.parametrize("log", ["", "log: {enabled: false}\n"])
def test_where_nothing_is_recorded_nothing_is_compared(tmp_path: Path, log: str) -> None:
    drifting = Drifting(tmp_path, log)
    drifting.ask(60)
    assert drifting.check() == []


def test_a_version_whose_files_are_gone_is_no_error(tmp_path: Path) -> None:
    drifting = Drifting(tmp_path)
    drifting.ask(60)
    shutil.rmtree(tmp_path / "cache")
    assert drifting.check() == []
