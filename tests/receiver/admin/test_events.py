"""Events of a deployment, from a real listener to a client that reads them as they come."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.admin import events
from receiver.admin.app import admin_config
from receiver.admin.details import Sources
from receiver.core.deployment import Cause, Draft, Outcome
from receiver.core.plan import Action, ActionKind
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.daemon.listener import Listener
from receiver.planning.status import StatusReport
from tests.support.chromium import browser, find_browser
from tests.support.waiting import eventually

START = Action(ActionKind.START, "v6", None, "candidate")


@dataclass
class Running:
    client: httpx.Client
    journal: SqliteJournal
    number: int  # of a deployment that runs
    stopping: threading.Event


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(events, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(events, "MOST", 2)
    database = Database(tmp_path / "pinrail.db")
    journal, stopping = SqliteJournal(database), threading.Event()
    number = journal.open(
        Draft(Slot("production", "churn"), 5, 6, None, "1f" * 20, Cause.read("push"), None, [START])
    )
    journal.intend(number, 0, START)
    config = admin_config(database, StatusReport, 0, Redactor(["hunter2hunter2"]), Sources(stopping=stopping))
    listener = Listener(config, "admin")
    listener.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.port}", timeout=20) as client:
        yield Running(client, journal, number, stopping)
    stopping.set()
    listener.stop()
    database.close()


def read(lines: Iterator[str]) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Name, id and data of each event."""
    found: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            found[name] = value
        elif "event" in found:
            yield found["event"], found["id"], json.loads(found["data"])
            found = {}


def test_each_step_is_sent_when_it_begins_and_when_it_ends_and_then_the_outcome(running: Running) -> None:
    path = f"/deployments/{running.number}/events"
    with running.client.stream("GET", path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["cache-control"] == "no-store"
        found = read(answer.iter_lines())
        name, first, step = next(found)
        assert (name, first, step["kind"], step["result"]) == ("step", "1", "start", None)
        running.journal.result(running.number, 0, "it said hunter2hunter2")
        name, second, step = next(found)
        assert (name, second, step["result"]) == ("step", "2", "it said ***")
        running.journal.close(running.number, Outcome.ROLLED_BACK, "no")
        last = next(found)
        assert last == ("end", "end-rolled-back", {"outcome": "rolled-back", "reason": "no"})
        assert next(found, None) is None
    again = {"Last-Event-ID": "end-rolled-back"}
    assert running.client.get(path, headers=again).status_code == 204
    resumed = running.client.get(path, headers={"Last-Event-ID": "1"}).text
    assert [name for name, _, _ in read(iter(resumed.splitlines()))] == ["step", "end"]


def test_listeners_are_bounded_and_one_that_leaves_makes_room(running: Running) -> None:
    path = f"/deployments/{running.number}/events"
    with ExitStack() as stack:
        reading = []  # kept, for a reader that is gone closes its answer
        for _ in range(2):
            answer = stack.enter_context(running.client.stream("GET", path))
            reading.append(read(answer.iter_lines()))
            assert next(reading[-1])
        refused = running.client.get(path)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
        answer.close()

        def has_room() -> bool:
            with running.client.stream("GET", path) as third:
                return third.status_code == 200

        eventually(has_room, 20)


def test_silence_is_broken_and_a_receiver_that_stops_ends_it(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.0)
    with running.client.stream("GET", f"/deployments/{running.number}/events") as answer:
        lines = answer.iter_lines()
        assert any(line == ": still running" for line in lines)
        running.stopping.set()
        assert not any(line.startswith("event: end") for line in lines)


@pytest.mark.skipif(find_browser() is None, reason="needs Chromium")
def test_a_page_shows_a_step_when_it_happens_and_not_at_the_next_refresh(running: Running) -> None:
    with browser(find_browser() or "") as page:
        page.open(f"{str(running.client.base_url).rstrip('/')}/deployments/{running.number}", 390)
        assert page.run("document.querySelectorAll('.steps .busy').length") == 1
        running.journal.result(running.number, 0, "done")
        eventually(lambda: page.run("document.querySelectorAll('.steps .good').length") == 1, 20)
        running.journal.close(running.number, Outcome.LIVE)
        eventually(lambda: page.run("document.querySelector('h1 .badge').textContent") == "live", 20)
        assert page.run("events.readyState") == 2, "it is still listening"


def test_what_is_not_on_record_has_no_events(running: Running) -> None:
    assert running.client.get("/deployments/99/events").status_code == 404
    assert 'data-events="/deployments/1/events"' in running.client.get("/deployments/1").text
