"""What the journal writes down; that it does so at the right moments is for the tests of the flow."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import KEPT_REPEATS, SqliteJournal
from receiver.core.deployment import DRIFT, Cause, Draft, Outcome
from receiver.core.plan import Action, ActionKind
from receiver.core.policy import Hold, HoldState
from receiver.core.quarantine import Quarantine
from receiver.core.redact import Redactor
from receiver.core.state import Slot

SLOT = Slot("staging", "churn-model")
LOG_TAIL = "it ended.\n  the password is hunter2hunter2\x1b[31m"


def test_a_secret_in_a_servers_log_tail_is_in_no_row(tmp_path: Path) -> None:
    database = Database(tmp_path / "pinrail.db")
    journal = SqliteJournal(database, Redactor(["hunter2hunter2"]))
    draft = Draft(SLOT, 1, 2, None, "c" * 40, Cause.read("push"))
    number = journal.open(draft)
    journal.intend(number, 1, Action(ActionKind.START, "v2", None, "candidate"))
    journal.result(number, 1, LOG_TAIL)
    journal.quarantine(Quarantine(SLOT, 2, "c" * 40, LOG_TAIL, needs_human=False, since=1.0))
    journal.close(number, Outcome.ROLLED_BACK, LOG_TAIL)
    journal.hold(draft, Hold(HoldState.REFUSED, LOG_TAIL))
    assert journal.hold(draft, Hold(HoldState.REFUSED, LOG_TAIL)) is None, "the same reason is the same still"
    written = [d.reason for d in journal.recent()] + [str(journal.steps(number)[0].result)]
    written += [q.reason for q in journal.quarantined()]
    assert set(written) == {"it ended.\n  the password is ***"}
    database.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "pinrail.db")
    yield database
    database.close()


def failed_restoration(journal: SqliteJournal, repeat_of: int | None = None) -> int:
    number = journal.open(Draft(SLOT, None, 1, None, "c" * 40, DRIFT))
    journal.intend(number, 1, Action(ActionKind.START, "v1", None, "candidate"))
    journal.result(number, 1, f"attempt {number} failed")
    journal.close(number, Outcome.NEEDS_HUMAN, f"attempt {number} failed", (), repeat_of)
    return number


def test_of_a_restoration_that_fails_for_weeks_the_first_and_the_last_attempts_are_kept_and_all_are_counted(
    database: Database,
) -> None:
    journal = SqliteJournal(database)
    other = failed_restoration(journal)
    failed_restoration(journal, other)
    first = failed_restoration(journal)
    later = [failed_restoration(journal, first) for _ in range(KEPT_REPEATS + 30)]
    counted = journal.history(SLOT)[-1]
    assert (counted.id, counted.repeats, counted.reason) == (first, len(later), f"attempt {later[-1]} failed")
    connection = database.connection()
    kept = [row["id"] for row in connection.execute("SELECT id FROM deployments WHERE id >= ? ORDER BY id", (first,))]
    assert kept == [first, *later[-KEPT_REPEATS:]]
    assert [row["deployment"] for row in connection.execute("SELECT * FROM steps ORDER BY deployment")][2:] == kept
    assert [d.repeats for d in journal.history(SLOT)] == [1, len(later)]


def test_a_repetition_is_closed_and_counted_or_neither(database: Database) -> None:
    journal = SqliteJournal(database)
    first = failed_restoration(journal)
    database.connection().execute(
        "CREATE TEMP TRIGGER full BEFORE UPDATE OF repeats ON deployments BEGIN SELECT raise(ABORT, 'disk full'); END"
    )
    with pytest.raises(sqlite3.Error, match="disk full"):
        failed_restoration(journal, first)
    assert [d.state for d in journal.history(SLOT)] == [Outcome.NEEDS_HUMAN, Outcome.RUNNING]
