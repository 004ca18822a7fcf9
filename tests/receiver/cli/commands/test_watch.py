"""What ``pinrail watch`` says of a deployment while it goes on, from a real journal."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.cli.commands.watch import follow
from receiver.cli.following import Follower
from receiver.core.deployment import Cause, Draft, Outcome
from receiver.core.plan import Action, ActionKind
from receiver.core.state import Slot

SLOT = Slot("production", "churn-model")
START = Action(ActionKind.START, "v6", None, "candidate")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    database = Database(tmp_path / "pinrail.db")
    yield SqliteJournal(database)
    database.close()


def begin(journal: SqliteJournal, version: int) -> int:
    return journal.open(Draft(SLOT, 5, version, None, "1f" * 20, Cause.read("push"), None, [START]))


def soon() -> float:
    return time.monotonic() + 20


def following(journal: SqliteJournal, say: Callable[[str], None] = lambda _: None) -> Follower:
    return Follower(journal, SLOT, time.time(), say)


def test_the_running_deployment_is_followed_step_by_step_to_its_end(journal: SqliteJournal) -> None:
    journal.close(begin(journal, 5), Outcome.LIVE)
    number = begin(journal, 6)
    said: list[str] = []
    stepped = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        stepped.set()

    def go_on() -> None:
        stepped.wait(20)
        journal.intend(number, 0, START)
        journal.result(number, 0, "done")
        journal.close(number, Outcome.ROLLED_BACK, "the input example is refused\nlog lines")

    thread = threading.Thread(target=go_on)
    thread.start()
    ended = follow(following(journal, say), soon(), poll_seconds=0.01)
    thread.join()
    assert ended is not None
    assert (ended.id, ended.state) == (number, Outcome.ROLLED_BACK)
    assert [line[9:] for line in said] == [
        f"deployment {number}: v5 -> v6, by push",
        "  start v6: - -> candidate: done, 0.0 s",
        "rolled-back: the input example is refused",
    ]


def test_without_one_the_next_is_awaited(journal: SqliteJournal) -> None:
    journal.close(begin(journal, 5), Outcome.LIVE)
    threading.Timer(0.05, lambda: journal.close(begin(journal, 6), Outcome.LIVE)).start()
    ended = follow(following(journal), soon(), poll_seconds=0.01)
    assert ended is not None
    assert (ended.draft.to_version, ended.state) == (6, Outcome.LIVE)


def test_a_deadline_ends_it_without_an_answer(journal: SqliteJournal) -> None:
    begin(journal, 6)
    assert follow(following(journal), time.monotonic()) is None


def test_one_that_ends_while_the_command_starts_is_not_missed(journal: SqliteJournal) -> None:
    journal.close(begin(journal, 5), Outcome.LIVE)
    before_its_imports = following(journal)
    number = begin(journal, 6)
    journal.close(number, Outcome.REFUSED, "accuracy")
    ended = follow(before_its_imports, time.monotonic())
    assert ended is not None
    assert (ended.id, ended.state) == (number, Outcome.REFUSED)


def test_an_interrupted_one_is_followed_into_the_next(journal: SqliteJournal) -> None:
    said: list[str] = []
    watching = following(journal, said.append)
    journal.close(begin(journal, 6), Outcome.INTERRUPTED, "the receiver stops")
    journal.close(begin(journal, 6), Outcome.LIVE)
    ended = follow(watching, time.monotonic())
    assert ended is not None
    assert ended.state is Outcome.LIVE
    assert said[1].endswith("interrupted: the receiver stops; it goes on by itself")


def test_a_receiver_that_ends_meanwhile_is_said_once(journal: SqliteJournal) -> None:
    said: list[str] = []
    runs = iter([True, False, False, True])
    watching = Follower(journal, SLOT, time.time(), said.append, lambda: next(runs))
    for _ in range(4):
        assert list(watching.ended()) == []
    assert said == ["no receiver runs, so nothing goes on: `pinrail up` starts it", "a receiver runs again"]
