"""The board: what people look at keeps nobody waiting who works."""

import time
from pathlib import Path

import pytest

from receiver.admin.overview import troubles
from receiver.core.errors import Retryable
from receiver.core.plan import Purpose
from receiver.core.quarantine import Freeze
from receiver.core.state import Slot
from receiver.planning.observe import observe_head
from receiver.planning.status import Activity, StatusBoard, status_report
from tests.support.flow import MODEL, Flow

STAGING = Slot("staging", MODEL)


def test_the_board_shows_what_the_controller_saw_and_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = Flow(tmp_path)
    flow.register(1)
    flow.pin(staging=1)
    report = flow.run()
    found = {a.slot: a for a in report.assessments}
    status_board = StatusBoard()
    assert status_board.report().slots == ()
    monkeypatch.setattr(flow.target, "observe", lambda: pytest.fail("the servers were asked"))
    monkeypatch.setattr(flow.registry, "observe", lambda _: pytest.fail("the registry was asked"))
    status_board.update(report.seen, found, {STAGING: Activity(Purpose.PROMOTE, 2, 1.0)})
    (row,) = status_board.report().slots
    assert (row.state, row.serving_version) == ("deploying", 1)
    assert row.reason == "v2 is being deployed since 1970-01-01T00:00:01Z"
    status_board.lose("the engine does not answer")
    with pytest.raises(Retryable, match="the engine does not answer"):
        status_board.report()


def test_a_hold_is_shown_before_there_is_anything_that_it_holds_back(tmp_path: Path) -> None:
    flow = Flow(tmp_path)
    flow.register(1)
    flow.pin(staging=1)
    flow.run()
    flow.journal.freeze(Freeze("staging", None, "an audit", time.time()))
    (row,) = status_report(flow.services, observe_head(flow.services)).slots
    assert (row.state, row.reason) == ("in sync", "a person lets nothing new be deployed here: an audit")
    assert [(trouble.state, trouble.sentence) for trouble in troubles([row])] == [(row.state, row.reason)]


def test_nothing_is_called_in_sync_while_the_registry_cannot_be_asked(tmp_path: Path) -> None:
    flow = Flow(tmp_path)
    flow.register(1)
    flow.pin(staging=1)
    flow.run()
    flow.registry.reachable = False
    (row,) = status_report(flow.services, observe_head(flow.services)).slots
    assert (row.pinned, row.alias_version, row.serving_version) == (1, None, 1)
    assert (row.state, row.reason) == ("unknown", "the registry did not answer")


def test_nothing_is_called_in_sync_whose_model_was_renamed_or_deleted_in_the_registry(tmp_path: Path) -> None:
    flow = Flow(tmp_path)
    flow.register(1)
    flow.pin(staging=1)
    flow.run()
    flow.registry.models.clear()
    assert not flow.run("timer").outcomes, "what serves goes on to serve"
    (row,) = status_report(flow.services, observe_head(flow.services)).slots
    assert (row.pinned, row.alias_version, row.serving_version) == (1, None, 1)
    assert (row.state, row.reason) == ("drift", "the registry has no model churn-model any more: register it again")
