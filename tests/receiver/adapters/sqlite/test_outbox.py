"""The outbox: in order, at least once, and never in anybody's way."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from receiver.adapters.sqlite import outbox as module
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.outbox import SqliteOutbox
from receiver.core.errors import Rejected, Retryable
from receiver.core.messages import NOTIFY, Announcement, CommitStatus, RevertNeeded
from receiver.core.redact import Redactor


class Clock:
    """Stands in for the time module; it moves when told to."""

    def __init__(self) -> None:
        self.now = 1_900_000_000.0

    def time(self) -> float:
        return self.now


class Sink:
    """A sender that notes what it was given, and fails as often as told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.got: list[str] = []

    def __call__(self, message: Mapping[str, Any]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.got.append(message.get("title") or message["description"])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "pinrail.db")
    yield database
    database.close()


def errors(database: Database) -> list[str]:
    return [row[0] for row in database.connection().execute("SELECT error FROM outbox ORDER BY id")]


def fill(outbox: SqliteOutbox, *titles: str, channel: str = "notify") -> None:
    for title in titles:
        outbox.put(
            Announcement(title, "")
            if channel == NOTIFY
            else CommitStatus("c" * 40, "pinrail/staging", "success", title)
        )


def test_messages_are_delivered_once_and_in_order(database: Database) -> None:
    outbox, sink = SqliteOutbox(database), Sink()
    fill(outbox, "a", "b")
    assert outbox.deliver_due({"notify": sink}) == 2
    assert outbox.deliver_due({"notify": sink}) == 0
    assert sink.got == ["a", "b"]


def test_a_message_put_in_a_transaction_that_fails_was_never_there(database: Database) -> None:
    outbox, sink = SqliteOutbox(database), Sink()

    def fail() -> None:
        with database.transaction() as db:
            module.store(db, [Announcement("a", "")], Redactor())
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        fail()
    assert outbox.deliver_due({"notify": sink}) == 0


def test_a_failure_is_tried_again_ever_more_rarely_and_keeps_the_order(database: Database, clock: Clock) -> None:
    outbox, sink = SqliteOutbox(database), Sink(Retryable("down"), Retryable("down"))
    fill(outbox, "a", "b")
    for wait in (5, 10):
        assert outbox.deliver_due({"notify": sink}) == 0
        clock.now += wait - 1
        assert outbox.deliver_due({"notify": sink}) == 0
        clock.now += 1
    assert outbox.deliver_due({"notify": sink}) == 2
    assert sink.got == ["a", "b"]


def test_whoever_says_when_to_come_back_is_not_asked_before(database: Database, clock: Clock) -> None:
    outbox, sink = SqliteOutbox(database), Sink(Retryable("rate limit", 900), Retryable("rate limit", 10 * 86_400))
    fill(outbox, "a")
    for wait in (900, module.BACKOFF.longest):
        assert outbox.deliver_due({"notify": sink}) == 0
        clock.now += wait - 1
        assert outbox.deliver_due({"notify": sink}) == 0
        clock.now += 1
    assert outbox.deliver_due({"notify": sink}) == 1


def test_what_was_not_delivered_before_a_crash_is_delivered_after_it(tmp_path: Path) -> None:
    before = Database(tmp_path / "pinrail.db")
    fill(SqliteOutbox(before), "a")
    before.close()
    after, sink = Database(tmp_path / "pinrail.db"), Sink()
    assert SqliteOutbox(after).deliver_due({"notify": sink}) == 1
    after.close()


def test_a_message_that_will_never_be_taken_is_given_up_and_lets_the_next_one_pass(database: Database) -> None:
    outbox, sink = SqliteOutbox(database), Sink(Rejected("no such chat"))
    fill(outbox, "a", "b")
    assert outbox.deliver_due({"notify": sink}) == 1
    assert (sink.got, errors(database)) == (["b"], ["Rejected: no such chat", ""])


def test_what_github_shows_for_good_is_kept_for_a_token_that_expired_on_a_friday(
    database: Database, clock: Clock
) -> None:
    outbox, sink = SqliteOutbox(database), Sink(Retryable("the token has expired"))
    fill(outbox, "v6 is live", channel="github")
    outbox.deliver_due({"github": sink})
    clock.now += 3 * module.GIVE_UP_SECONDS
    sink.failures.append(Retryable("the token has expired"))
    outbox.deliver_due({"github": sink})
    clock.now += module.BACKOFF.longest + 1
    outbox.deliver_due({"github": sink})
    assert sink.got == ["v6 is live"]


def test_messages_of_yesterday_are_given_up(database: Database, clock: Clock) -> None:
    outbox, sink = SqliteOutbox(database), Sink(ConnectionError("down"))
    fill(outbox, "a")
    clock.now += module.GIVE_UP_SECONDS + 1
    fill(outbox, "b")
    assert outbox.deliver_due({"notify": sink}) == 1
    assert sink.got == ["b"]


def test_a_channel_that_fails_keeps_no_other_waiting_and_raises_nothing(database: Database) -> None:
    outbox, good, bad = SqliteOutbox(database), Sink(), Sink(ValueError("a bug in a plugin"))
    fill(outbox, "a", channel="github")
    fill(outbox, "b", channel="notify")
    assert outbox.deliver_due({"github": bad, "notify": good}) == 1
    assert good.got == ["b"]


def test_a_message_that_fails_delays_only_those_about_the_same_thing(database: Database, clock: Clock) -> None:
    outbox, got, down = SqliteOutbox(database), [], True

    def send(message: Mapping[str, Any]) -> None:
        if down and message["kind"] == "revert" and message["model"] == "one":
            raise Retryable("down")
        got.append(message.get("description") or message["model"])

    one, two = (RevertNeeded("staging", model, 2, 1, "") for model in ("one", "two"))
    outbox.put(one, CommitStatus("a" * 40, "pinrail/staging", "failure", "status"), two, one)
    assert outbox.deliver_due({"github": send}) == 2
    assert got == ["status", "two"]
    down = False
    assert outbox.deliver_due({"github": send}) == 0, "the second of that slot does not overtake the first"
    clock.now += 5
    assert outbox.deliver_due({"github": send}) == 2
    assert got == ["status", "two", "one", "one"]


def test_each_destination_of_a_channel_gets_every_message_and_none_waits_for_another(
    database: Database, clock: Clock
) -> None:
    outbox, one, two = SqliteOutbox(database), Sink(), Sink(Retryable("down"))
    fill(outbox, "a", "b")
    senders = {"notify/one": one, "notify/two": two}
    assert outbox.deliver_due(senders) == 2
    clock.now += 5
    assert outbox.deliver_due(senders) == 2
    assert one.got == two.got == ["a", "b"]


def test_without_a_sender_a_message_waits(database: Database) -> None:
    outbox, sink = SqliteOutbox(database), Sink()
    fill(outbox, "a", channel="github")
    assert outbox.deliver_due({"notify": sink}) == 0
    assert outbox.deliver_due({"github": sink}) == 1


def test_a_clock_that_jumps_back_holds_no_message_up(database: Database, clock: Clock) -> None:
    outbox, sink = SqliteOutbox(database), Sink(Retryable("down"))
    fill(outbox, "a")
    outbox.deliver_due({"notify": sink})
    clock.now -= 86_400
    assert outbox.deliver_due({"notify": sink}) == 1


def test_no_secret_gets_into_the_recorded_error_or_the_log(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = SqliteOutbox(database, Redactor(["hunter2hunter2"]))
    fill(outbox, "a")
    outbox.deliver_due({"notify": Sink(OSError("https://me:pw@host/x?token=abc says hunter2hunter2\x1b[0m"))})
    assert errors(database) == ["OSError: https://***@host/x?token=*** says ***"]
    assert "hunter2" not in caplog.text
    assert "abc" not in caplog.text


def test_no_secret_is_kept_in_a_message(database: Database) -> None:
    outbox = SqliteOutbox(database, Redactor(["hunter2hunter2"]))
    outbox.put(RevertNeeded("staging", "churn-model", 2, 1, "its last log lines:\nhunter2hunter2"))
    (kept,) = database.connection().execute("SELECT body FROM outbox").fetchone()
    assert json.loads(kept) == {
        "kind": "revert",
        "environment": "staging",
        "model": "churn-model",
        "failed": 2,
        "back_to": 1,
        "reason": "its last log lines:\n***",
        "by_labels": False,
    }


def test_what_was_delivered_long_ago_is_forgotten(database: Database, clock: Clock) -> None:
    outbox, sink = SqliteOutbox(database), Sink()
    fill(outbox, "a")
    outbox.deliver_due({"notify": sink})
    clock.now += module.KEEP_SECONDS + 1
    fill(outbox, "b")
    outbox.deliver_due({"notify": sink})
    assert errors(database) == [""]
    assert sink.got == ["a", "b"]


def test_what_is_said_once_is_stored_once_and_again_a_year_later(database: Database, clock: Clock) -> None:
    outbox, sink = SqliteOutbox(database), Sink()
    assert outbox.put_once("drift of a", Announcement("a", ""))
    assert not outbox.put_once("drift of a", Announcement("a again", ""))
    assert outbox.put_once("drift of b", Announcement("b", ""))
    outbox.deliver_due({NOTIFY: sink})
    assert sink.got == ["a", "b"]
    clock.now += 366 * 86_400
    assert outbox.put_once("drift of a", Announcement("a", ""))
