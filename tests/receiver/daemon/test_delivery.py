"""Delivering the outbox: what hangs delays only what is about the same thing, and nothing is lost or overtakes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from receiver.adapters import shell
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.outbox import Sender, SqliteOutbox
from receiver.core.errors import Retryable
from receiver.core.messages import Announcement, CommitStatus, DeploymentOf, DeploymentUpdate, RevertNeeded
from receiver.daemon import delivery as module
from receiver.daemon.delivery import OutboxDelivery
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]


class Outside:
    """Takes messages, and hangs where ``hangs`` says so, until ``release``."""

    def __init__(self, hangs: Callable[[Mapping[str, Any]], bool] = lambda _: False) -> None:
        self.hangs = hangs
        self.release = threading.Event()
        self.asked: list[Mapping[str, Any]] = []
        self.taken: list[Mapping[str, Any]] = []

    def __call__(self, message: Mapping[str, Any]) -> None:
        self.asked.append(message)
        if self.hangs(message):
            self.release.wait()
        self.taken.append(message)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[SqliteOutbox]:
    database = Database(tmp_path / "pinrail.db")
    yield SqliteOutbox(database)
    database.close()


@pytest.fixture
def start(outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., OutboxDelivery]]:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(module, "LAST_SECONDS", 0.3)
    started: list[tuple[OutboxDelivery, dict[str, Sender]]] = []

    def begin(senders: dict[str, Sender]) -> OutboxDelivery:
        started.append((OutboxDelivery(outbox, senders), senders))
        started[-1][0].start()
        return started[-1][0]

    yield begin
    for delivery, senders in started:
        for sender in senders.values():
            if isinstance(sender, Outside):
                sender.release.set()
        delivery.stop()


def status(commit: str, description: str = "live") -> CommitStatus:
    return CommitStatus(commit * 40, "pinrail/staging", "success", description)


def revert(model: str) -> RevertNeeded:
    return RevertNeeded("staging", model, 2, 1, "it did not start")


def test_commit_statuses_do_not_wait_for_any_number_of_pull_requests_or_for_a_chat_that_hangs(
    outbox: SqliteOutbox, start: Callable[..., OutboxDelivery]
) -> None:
    outbox.put(Announcement("a", ""), *(revert(f"model-{number}") for number in range(3 * module.AT_ONCE)))
    github, chat, other = Outside(lambda m: m["kind"] == "revert"), Outside(lambda _: True), Outside()
    start({"github": github, "notify/chat": chat, "notify/other": other})
    eventually(lambda: len(github.asked) == module.AT_ONCE and chat.asked and other.taken)
    outbox.put(status("a"))
    eventually(lambda: github.taken, 2)
    assert [message["kind"] for message in github.taken] == ["status"]
    assert len(github.asked) == module.AT_ONCE + 1, "no crowd of threads"


def test_a_status_that_hangs_delays_only_those_of_its_own_commit_and_context(
    outbox: SqliteOutbox, start: Callable[..., OutboxDelivery]
) -> None:
    outbox.put(status("a", "first"), status("a", "second"), status("b", "other"))
    github = Outside(lambda message: message["description"] == "first")
    start({"github": github})
    eventually(lambda: github.taken)
    assert [message["description"] for message in github.asked] == ["first", "other"]
    github.release.set()
    eventually(lambda: len(github.taken) == 3)
    assert [m["description"] for m in github.taken] == ["other", "first", "second"]


def test_the_deployments_of_a_slot_are_reported_in_order_whatever_their_commit_and_other_slots_do_not_wait(
    outbox: SqliteOutbox, start: Callable[..., OutboxDelivery]
) -> None:
    def update(commit: str, model: str) -> DeploymentUpdate:
        of = DeploymentOf(commit * 40, "staging", f"deploy:{model}", model, production=False)
        return DeploymentUpdate(of, "success", f"{model} of {commit}")

    outbox.put(update("a", "one"), update("b", "one"), update("a", "two"))
    github = Outside(lambda message: message["description"] == "one of a")
    start({"github": github})
    eventually(lambda: github.taken)
    assert [message["description"] for message in github.asked] == ["one of a", "two of a"]


def test_many_messages_that_have_waited_go_out_one_after_another_without_a_pause(
    outbox: SqliteOutbox, start: Callable[..., OutboxDelivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 60)
    outbox.put(*(CommitStatus(f"{number:040d}", "pinrail/staging", "success", "live") for number in range(50)))
    github = Outside()
    start({"github": github})
    eventually(lambda: len(github.taken) == 50, 20)


def test_what_takes_longer_than_anything_may_is_recorded_and_tried_again(
    outbox: SqliteOutbox, start: Callable[..., OutboxDelivery], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "LONGEST_SECONDS", 0.05)
    outbox.put(status("a", "first"), status("a", "second"))
    github = Outside(lambda _: len(github.asked) == 1)
    start({"github": github})
    db = Database(tmp_path / "pinrail.db")

    def noted() -> tuple[int, str]:
        return tuple(db.connection().execute("SELECT attempts, error FROM outbox WHERE id = 1").fetchone())

    eventually(lambda: noted() == (1, "Retryable: it took longer than 0.05 s"))
    with db.transaction() as connection:
        connection.execute("UPDATE outbox SET not_before = 0")
    eventually(lambda: len(github.taken) == 2)
    assert [message["description"] for message in github.taken] == ["first", "second"]
    db.close()


def test_the_messages_of_the_last_job_are_still_delivered_at_the_end(
    outbox: SqliteOutbox, start: Callable[..., OutboxDelivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 60)
    github = Outside()
    delivery = start({"github": github})
    outbox.put(status("a"))
    delivery.stop()
    assert len(github.taken) == 1


def test_the_end_waits_for_nothing_that_hangs_and_kills_its_programs(
    outbox: SqliteOutbox, start: Callable[..., OutboxDelivery], tmp_path: Path
) -> None:
    lock = tmp_path / "running"

    def runs_a_program(_: Mapping[str, Any]) -> None:
        shell.run(
            ["sh", "-c", f"touch {lock}; sleep 60; rm {lock}"], environment={"PATH": os.environ["PATH"]}, timeout=60
        )

    outbox.put(status("a"), revert("one"), Announcement("a", ""))
    chat = Outside(lambda _: True)
    delivery = start({"github": runs_a_program, "notify/chat": chat})
    eventually(lambda: lock.exists() and chat.asked)
    began = time.monotonic()
    delivery.stop()
    assert time.monotonic() - began < 2
    assert not [thread for thread in threading.enumerate() if thread.name == "delivery to github"], "git is killed"
    rows = outbox.waiting({"github", "notify/chat"})
    assert [row.attempts for row in rows] == [0, 0, 0], "cut off by our own end, they did not fail"


def test_a_state_file_that_cannot_be_written_is_met_with_patience(
    outbox: SqliteOutbox, start: Callable[..., OutboxDelivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    github, full = Outside(), threading.Event()
    full.set()
    delivered = outbox.delivered

    def deliver(message: Any) -> None:
        if full.is_set():
            raise Retryable("the disk is full")
        delivered(message)

    monkeypatch.setattr(outbox, "delivered", deliver)
    outbox.put(status("a"))
    start({"github": github})
    eventually(lambda: len(github.taken) > 1)
    full.clear()
    eventually(lambda: not outbox.waiting({"github"}))


PROGRAM = """
import sys, time
from pathlib import Path
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.outbox import SqliteOutbox
from receiver.daemon import delivery
delivery.POLL_SECONDS = 0.01
sent = open(sys.argv[2], "a", buffering=1)
def send(message):
    sent.write(f"{message['commit'][0]} {message['description']}\\n")
outbox = SqliteOutbox(Database(Path(sys.argv[1])))
delivery.OutboxDelivery(outbox, {"github": send}).start()
while outbox.waiting({"github"}):
    time.sleep(0.01)
"""


@pytest.mark.timeout(120)
def test_killed_again_and_again_it_loses_nothing_and_keeps_the_order_of_each_subject(
    outbox: SqliteOutbox, tmp_path: Path
) -> None:
    sent, each = tmp_path / "sent", 60
    outbox.put(*(status(commit, str(number)) for number in range(each) for commit in "abcde"))
    arguments = [sys.executable, "-c", PROGRAM, str(tmp_path / "pinrail.db"), str(sent)]
    kills = 0
    while outbox.waiting({"github"}):
        before = sent.stat().st_size if sent.exists() else 0
        process = subprocess.Popen(arguments, cwd=ROOT)
        while process.poll() is None and (not sent.exists() or sent.stat().st_size < before + 100):
            time.sleep(0.001)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    by_commit = defaultdict(list)
    for line in sent.read_text().splitlines():
        by_commit[line.split()[0]].append(int(line.split()[1]))
    assert kills > 1
    assert {commit: [n for n, _ in groupby(numbers)] for commit, numbers in by_commit.items()} == {
        commit: list(range(each)) for commit in "abcde"
    }
