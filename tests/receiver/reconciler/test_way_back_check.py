"""What is said of the way back was measured: the files were verified, and the start was timed."""

import shutil
import threading
import time
from pathlib import Path

import pytest

from receiver.core.deployment import WayBack
from receiver.core.errors import Retryable
from receiver.core.state import Slot
from receiver.core.way_back import way_back
from receiver.reconciler.way_back_check import WayBackCheck
from tests.support.flow import MODEL, Flow

SLOT = Slot("staging", MODEL)


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    """Versions 1 and 2 were verified in staging, and 2 serves."""
    flow = Flow(tmp_path)
    flow.register(1, 2, 3)
    for version in (1, 2):
        flow.pin(staging=version)
        flow.run()
    return flow


def checked(flow: Flow) -> WayBack | None:
    WayBackCheck(flow.services).run(threading.Event())
    return next(iter(flow.journal.ways_back()), None)


def test_before_the_first_check_nothing_is_claimed(flow: Flow) -> None:
    found = way_back(flow.journal, SLOT, 2)
    assert found is not None
    assert (found.version, found.ready, found.verified) == (1, False, None)
    assert str(found) == "v1 is not ready: its files have not been checked yet"


def test_a_version_whose_files_are_here_is_ready_and_its_start_was_timed(flow: Flow) -> None:
    with flow.database.transaction() as db:
        db.execute("UPDATE steps SET ended_at = started_at + 0.42 WHERE json_extract(action, '$.kind') = 'start'")
    found = checked(flow)
    assert found is not None
    assert (found.version, found.ready, found.problem) == (1, True, "")
    assert found.start_seconds == pytest.approx(0.42, abs=0.001)
    assert str(found).startswith("v1 in about 0.4 s, as it started here last; its files are here, verified 2")
    assert way_back(flow.journal, SLOT, 3) != found, "from the next version it is back to the one that serves"


def test_what_was_never_started_here_has_no_time(flow: Flow) -> None:
    with flow.database.transaction() as db:
        db.execute("DELETE FROM steps")
    found = checked(flow)
    assert found is not None
    assert found.start_seconds is None
    assert str(found).startswith("v1; its files are here")


def test_files_that_cannot_be_had_are_named_and_tried_again(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[int] = []
    real = flow.registry.artifacts

    def artifacts(model: str, version: int, digest: str) -> Path:
        wanted.append(version)
        if version == 1 and wanted.count(1) == 1:
            raise Retryable("MLflow does not answer")
        return real(model, version, digest)

    monkeypatch.setattr(flow.registry, "artifacts", artifacts)
    check = WayBackCheck(flow.services)
    again = check.run(threading.Event())
    assert again <= time.time() + 600
    (found,) = flow.journal.ways_back()
    assert str(found) == "v1 is not ready: its files are not on this machine: MLflow does not answer"
    with flow.database.transaction() as db:
        db.execute("UPDATE kept_versions SET at = at - 601")
    check = WayBackCheck(flow.services)
    check.run(threading.Event())
    assert flow.journal.ways_back()[0].ready
    assert wanted == [2, 1, 1], "what was verified is not verified again within a day"
    assert check.run(threading.Event()) > time.time() + 3600


def test_a_version_in_quarantine_is_no_way_back(flow: Flow) -> None:
    flow.prober.failing_smoke.add(3)
    flow.pin(staging=3)
    flow.run()
    found = checked(flow)
    assert found is not None
    assert found.version == 1


def test_where_nothing_else_was_verified_there_is_none(tmp_path: Path) -> None:
    flow = Flow(tmp_path / "first")
    flow.register(1)
    flow.pin(staging=1)
    flow.run()
    assert checked(flow) is None
    shutil.rmtree(tmp_path / "first" / "registry")
