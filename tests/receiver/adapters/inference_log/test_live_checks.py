"""Labels judge the version that serves: once, with the figures, and with a way back where the policy says so."""

import json
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ml.live.join import update
from ml.live.label_store import LabelStore
from ml.live.labels import Label
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.inference_log.live_checks import LiveChecks, LiveServices
from receiver.core.errors import Retryable
from receiver.core.state import Slot
from tests.support.flow import MODEL, Flow
from tests.support.request_logs import request_log
from tests.support.segments import COLUMNS, record

SLOT = Slot("staging", MODEL)


class Live:
    """Version 2 serves in staging, version 1 did before."""

    def __init__(self, state: Path, on_fail: str, *, proposes: bool = True) -> None:
        self.state, self.on_fail = state, on_fail
        self.flow = Flow(state)
        self.flow.register(1, 2)
        self.least = 0.75
        for version in (1, 2):
            self.pin(version)
        directories = LogDirectories(state)
        directories.prepare(SLOT)
        self.store = LabelStore(directories.root)
        services = self.flow.services
        self.checks = LiveChecks(
            state, LiveServices(services.journal, services.registry, services.outbox, proposes=proposes)
        )

    def pin(self, version: int) -> None:
        files = self.flow.files(version, None)
        live = (
            f"policy: {{live: {{accuracy: {{min: {self.least}, labels: 40}}, on_fail: {self.on_fail}}}}}\nlog: {{}}\n"
        )
        files["environments/staging.yaml"] += live.encode()
        self.flow.source.commit(files)
        self.flow.run()

    def label(
        self, name: str, right: int, wrong: int, version: int = 2, *, joined: bool = False, wrong_as: str = "leave"
    ) -> None:
        """Have a version answer so many requests, and label them. ``joined``: as `pinrail labels` does it."""
        count = right + wrong
        rows, table = [[30, "Köln"]] * count, [[0.5, 0.5]] * count
        asked = record(request_id=name.encode(), rows=rows, labels=["stay"] * count, probabilities=table)
        request_log(self.state, [asked], COLUMNS, SLOT, version=version)
        self.store.add(MODEL, [Label(name, row, "stay" if row < right else wrong_as) for row in range(count)])
        if joined:
            update(self.store, LogDirectories(self.state).all_parquet, MODEL)
        self.checks.run(threading.Event())

    def said(self) -> list[dict[str, Any]]:
        rows = self.flow.database.connection().execute("SELECT body FROM outbox ORDER BY id").fetchall()
        bodies = [json.loads(row[0]) for row in rows]
        return [b for b in bodies if "labels" in b.get("title", "") or b.get("kind") == "revert"]

    def figures(self) -> list[dict[str, Any]]:
        """What is to stand on pull requests."""
        rows = self.flow.database.connection().execute("SELECT body FROM outbox ORDER BY id").fetchall()
        return [body for row in rows if (body := json.loads(row[0])).get("kind") == "realised"]


@pytest.fixture
def reverting(tmp_path: Path) -> Live:
    return Live(tmp_path, "revert")


def test_a_version_that_is_surely_worse_gets_one_revert_with_the_figures(reverting: Live) -> None:
    reverting.label("a", 16, 14)
    assert reverting.said() == []
    (found,) = reverting.store.realised()
    assert (found.outcome, found.gate, found.least) == ("INCONCLUSIVE", 0.81, 0.75)
    assert found.more is not None
    assert found.more >= 10
    reverting.label("b", 30, 40)
    notice, revert = reverting.said()
    assert notice["title"] == f"{MODEL} v2 in staging is worse than allowed, labels say"
    assert "46 of 100 labelled answers are right: accuracy 0.4600" in notice["text"]
    assert "A pull request for the way back to v1 is opened." in notice["text"]
    assert (revert["failed"], revert["back_to"], revert["by_labels"]) == (2, 1, True)
    reverting.label("c", 400, 0)
    assert len(reverting.said()) == 2
    assert reverting.store.realised()[0].outcome == "FAIL", "a version is decided once"


def test_labels_that_another_process_has_joined_are_judged_all_the_same(reverting: Live) -> None:
    reverting.label("a", 1, 0)
    reverting.label("b", 0, 100, joined=True)
    assert reverting.store.realised()[0].outcome == "FAIL"
    assert len(reverting.said()) == 2
    assert not reverting.store.waiting().changed


def test_labels_that_come_before_their_answer_is_collected_are_judged_soon_after(
    reverting: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.adapters.inference_log.live_checks.SOON_SECONDS", 0.0)
    reverting.store.add(MODEL, [Label("a", row, "leave") for row in range(100)])
    reverting.checks.run(threading.Event())
    reverting.label("a", 0, 100)  # the labels are known
    assert reverting.store.realised()[0].outcome == "FAIL"


def test_a_label_in_place_of_another_is_judged(reverting: Live) -> None:
    reverting.label("a", 40, 20)
    assert reverting.store.realised()[0].outcome == "INCONCLUSIVE"
    reverting.store.add(MODEL, [Label("a", row, "leave") for row in range(40)])
    reverting.checks.run(threading.Event())
    assert reverting.store.realised()[0].outcome == "FAIL"


def test_a_version_that_is_good_enough_is_left_alone_until_it_is_no_more(reverting: Live) -> None:
    reverting.label("a", 95, 5)
    assert reverting.said() == []
    assert reverting.store.realised()[0].outcome == "PASS"
    reverting.label("b", 0, 400)
    assert reverting.store.realised()[0].outcome == "FAIL"
    assert len(reverting.said()) == 2


def test_a_decision_on_labels_that_were_wrong_is_made_anew(reverting: Live) -> None:
    reverting.label("a", 0, 100)
    assert len(reverting.said()) == 2
    reverting.store.add(MODEL, [Label("a", row, "stay") for row in range(100)])
    reverting.checks.run(threading.Event())
    assert reverting.store.realised()[0].outcome == "PASS"
    reverting.label("b", 0, 400)
    assert reverting.store.realised()[0].outcome == "FAIL"
    assert len(reverting.said()) == 4, "what was decided otherwise in between is said again"


def test_labels_that_mostly_do_not_fit_decide_nothing(reverting: Live) -> None:
    reverting.label("a", 0, 60, wrong_as="17")
    reverting.label("b", 0, 60)
    assert reverting.said() == []
    assert reverting.store.realised()[0].outcome == "INCONCLUSIVE"


def test_a_model_whose_labels_cannot_be_joined_keeps_no_other_from_being_judged(reverting: Live) -> None:
    reverting.store.add("broken", [Label("a", 0, "stay")])
    with closing(sqlite3.connect(reverting.store.file)) as db:
        db.execute("INSERT INTO answers VALUES ('broken', 'a', 0, 'staging', 1, 0.0, 'no JSON', 0, 0)")
        db.commit()
    with pytest.raises(Retryable, match="broken: JSONDecodeError"):
        reverting.label("b", 0, 100)
    assert reverting.store.realised(MODEL)[0].outcome == "FAIL"
    assert len(reverting.said()) == 2


def test_a_check_that_takes_long_is_made_less_often(reverting: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.adapters.inference_log.live_checks.CHECK_SECONDS", 0.0)
    reverting.store.add(MODEL, [Label("a", 0, "stay")])
    began = time.time()
    again = reverting.checks.run(threading.Event())
    assert again - time.time() > (time.time() - began) / 2


def test_another_limit_is_another_question(reverting: Live) -> None:
    reverting.label("a", 95, 5)
    reverting.least = 0.999
    reverting.pin(2)
    reverting.checks.run(threading.Event())
    assert reverting.store.realised()[0].outcome == "FAIL"
    assert len(reverting.said()) == 2


def test_a_version_that_failed_another_limit_is_a_way_back(reverting: Live) -> None:
    reverting.least = 0.999
    reverting.pin(2)
    reverting.label("a", 95, 5)
    reverting.least = 0.75
    reverting.flow.register(3)
    reverting.pin(3)
    reverting.label("b", 0, 100, version=3)
    assert [body["back_to"] for body in reverting.said() if "back_to" in body] == [1, 2]


def test_only_the_version_that_serves_is_judged(reverting: Live) -> None:
    reverting.label("old", 0, 100, version=1)
    assert reverting.said() == []
    assert reverting.store.realised()[0].outcome is None


def test_a_version_that_labels_have_found_out_is_nothing_to_go_back_to(reverting: Live) -> None:
    reverting.label("a", 0, 100)
    reverting.flow.register(3)
    reverting.pin(3)
    request_log(reverting.state, [record(request_id=b"z", labels=["stay"])], COLUMNS, SLOT, version=3)
    reverting.label("b", 0, 100, version=3)
    assert [body["back_to"] for body in reverting.said() if "back_to" in body] == [1, 1]


@pytest.mark.parametrize(("on_fail", "proposes"), [("notify", True), ("revert", False)])
def test_where_nothing_is_proposed_one_notification_says_how(tmp_path: Path, on_fail: str, proposes: bool) -> None:
    live = Live(tmp_path, on_fail, proposes=proposes)
    live.label("a", 0, 100)
    live.label("b", 0, 100)
    (notice,) = live.said()
    assert f"`pinrail rollback staging {MODEL} --to 1` proposes the way back to v1." in notice["text"]


def test_the_figures_of_each_version_go_to_its_pull_request_and_small_changes_wait(reverting: Live) -> None:
    reverting.label("a", 16, 14)
    reverting.label("b", 1, 0)
    reverting.label("old", 3, 1, version=1)
    (first, old) = reverting.figures()
    assert first["version"] == 2
    assert first["lines"][0].startswith("accuracy 0.5333")
    assert "gate 0.81; INCONCLUSIVE for 0.75" in first["lines"][0]
    assert (old["version"], old["model"]) == (1, MODEL)
    reverting.label("c", 0, 100)
    assert "FAIL for 0.75" in reverting.figures()[-1]["lines"][0]


def test_no_label_stands_on_a_pull_request_or_in_a_status(reverting: Live) -> None:
    reverting.label("a", 0, 3, wrong_as="17")
    (figures,) = reverting.figures()
    assert figures["lines"] == ["3 labels cannot be compared with the answers"]
    assert reverting.store.realised()[0].problem == figures["lines"][0]


def test_a_damaged_file_is_tried_again_later_and_stops_nothing(reverting: Live) -> None:
    reverting.label("a", 1, 1)
    for file in reverting.store.file.parent.glob("labels.db*"):
        file.write_bytes(b"no database" * 100)
    with pytest.raises(Retryable, match=r"labels\.db"):
        reverting.checks.run(threading.Event())
