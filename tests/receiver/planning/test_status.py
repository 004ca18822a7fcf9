"""The board: what people look at keeps nobody waiting who works."""

import threading
from pathlib import Path

import pytest

from receiver.planning.observe import observe_head
from receiver.planning.status import StatusBoard, status_report
from tests.support.flow import Flow


def test_an_engine_that_hangs_while_somebody_looks_does_not_hold_the_worker_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = Flow(tmp_path)
    flow.register(1)
    flow.pin(staging=1)
    seen = flow.run().seen
    status_board = StatusBoard(flow.services)
    status_board.update(seen)
    asked, goes_on, observe = threading.Event(), threading.Event(), flow.target.observe

    def hangs() -> object:
        asked.set()
        assert goes_on.wait(10)
        return observe()

    monkeypatch.setattr(flow.target, "observe", hangs)
    reader = threading.Thread(target=status_board.report)
    reader.start()
    assert asked.wait(10)
    working = threading.Thread(target=status_board.update, args=(seen,))
    working.start()
    working.join(5)
    waits = working.is_alive()
    goes_on.set()
    reader.join()
    working.join()
    assert not waits
    assert [row.state for row in status_board.report().slots] == ["in sync"]


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
