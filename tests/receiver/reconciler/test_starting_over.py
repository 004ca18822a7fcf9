"""The controller outlives what happens to its own memory: it starts over, as a receiver does after a crash."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.core.deployment import Outcome
from receiver.core.errors import Rejected, Retryable
from receiver.core.state import Server, Slot
from receiver.ports import Snapshot, Stop
from tests.support.flow import MODEL, Flow
from tests.support.running_controller import Running, running
from tests.support.waiting import eventually


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flow:
    monkeypatch.setattr("receiver.adapters.sqlite.database.BUSY_SECONDS", 0.02)
    monkeypatch.setattr("receiver.reconciler.fetcher.START_OVER_SECONDS", 0.02)
    monkeypatch.setattr("receiver.reconciler.controller.START_OVER_SECONDS", 0.02)
    flow = Flow(tmp_path)
    flow.register(1, 2)
    flow.pin(staging=1)
    return flow


@pytest.fixture
def other(flow: Flow) -> Iterator[sqlite3.Connection]:
    """Another program that opens the state file, such as a backup."""
    connection = sqlite3.connect(flow.database.path, isolation_level=None, check_same_thread=False)
    yield connection
    connection.close()


@pytest.fixture
def work(flow: Flow) -> Iterator[Running]:
    """A receiver at work, whose first deployment is over."""
    with running(flow, poll_seconds=0.05) as work:
        eventually(lambda: [d.state for d in flow.journal.recent()] == [Outcome.LIVE])
        yield work


def test_a_state_file_that_is_locked_for_long_holds_the_worker_up_and_does_not_end_it(
    flow: Flow, other: sqlite3.Connection, work: Running, caplog: pytest.LogCaptureFixture
) -> None:
    other.execute("BEGIN IMMEDIATE")
    eventually(lambda: "starting over" in caplog.text)
    other.execute("ROLLBACK")
    flow.pin(staging=2)
    eventually(lambda: flow.serving()["staging"] == 2)


def test_a_deployment_whose_end_is_not_written_is_closed_by_the_next_job(
    flow: Flow, work: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = flow.journal.close, iter([Retryable("the disk is full")])

    def close(*entry: Any) -> None:
        for failure in failures:
            raise failure
        real(*entry)

    monkeypatch.setattr(flow.journal, "close", close)
    flow.pin(staging=2)
    eventually(lambda: flow.journal.recent()[0].state is Outcome.LIVE and len(flow.journal.recent()) > 2)
    assert [d.state for d in flow.journal.recent()] == [Outcome.LIVE, Outcome.INTERRUPTED, Outcome.LIVE]


def test_a_deployment_whose_end_cannot_be_written_ends_as_interrupted_and_the_next_look_takes_over(
    flow: Flow, other: sqlite3.Connection, work: Running, caplog: pytest.LogCaptureFixture
) -> None:
    def watch(server: Server, seconds: float, stop: Stop) -> None:
        if server.spec.version == 2 and "starting over" not in caplog.text:
            other.execute("BEGIN IMMEDIATE")

    flow.prober.watch = watch  # type: ignore[method-assign]
    flow.pin(staging=2)
    eventually(lambda: "starting over" in caplog.text)
    other.execute("ROLLBACK")
    eventually(lambda: flow.journal.recent()[0].state is Outcome.LIVE)
    assert [d.state for d in flow.journal.recent()] == [Outcome.LIVE, Outcome.INTERRUPTED, Outcome.LIVE]


def test_a_branch_that_is_gone_is_reported_once_and_not_as_pins_that_are_wrong(
    flow: Flow, work: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> Snapshot:
        raise Rejected("the remote has no branch 'main'")

    monkeypatch.setattr(flow.source, "snapshot", gone)
    jobs = flow.database.connection()
    eventually(lambda: jobs.execute("SELECT count(*) FROM jobs WHERE state = 'dead'").fetchone()[0] > 1)
    titles = [
        json.loads(row["body"])["title"] for row in jobs.execute("SELECT body FROM outbox WHERE channel = 'notify'")
    ]
    assert titles[-1] == "Nothing new can be deployed"
    assert titles.count(titles[-1]) == 1


def test_a_soak_that_ends_is_noticed_though_the_poll_is_a_minute_away(tmp_path: Path) -> None:
    flow = Flow(tmp_path, soak="1s")
    flow.register(1)
    flow.pin(staging=1, production=1)
    with running(flow):
        eventually(lambda: [d.state for d in flow.journal.history(Slot("production", MODEL))] == [Outcome.WAITING])
        eventually(lambda: flow.serving()["production"] == 1)
    staging, production = (flow.journal.history(Slot(name, MODEL))[-1] for name in ("staging", "production"))
    assert staging.ended_at is not None
    assert 1.0 <= production.started_at - staging.ended_at < 10.0
