"""The state file: durable, one connection per thread, and errors that say what to do."""

import sqlite3
import threading
from pathlib import Path

import pytest

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.schema import StateUnusable
from receiver.core.errors import Retryable

JOB = "INSERT INTO jobs (state, cause, queued_at, not_before) VALUES ('done', 'push', 0, 0)"


def test_a_commit_that_returned_is_on_disk(tmp_path: Path) -> None:
    database = Database(tmp_path / "state" / "pinrail.db")
    pragma = {
        name: database.connection().execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("synchronous", "foreign_keys")
    }
    assert pragma == {"synchronous": 2, "foreign_keys": 1}
    assert database.connection().execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    database.close()


def test_an_error_inside_a_transaction_rolls_it_back_and_the_next_one_works(tmp_path: Path) -> None:
    database = Database(tmp_path / "pinrail.db")

    def fail() -> None:
        with database.transaction() as db:
            db.execute(JOB)
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        fail()
    with database.transaction() as db:
        db.execute(JOB)
    assert database.connection().execute("SELECT count(*) FROM jobs").fetchone()[0] == 1
    database.close()


def test_a_database_that_another_process_has_locked_is_retryable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.adapters.sqlite.database.BUSY_SECONDS", 0.05)
    database = Database(tmp_path / "pinrail.db")
    other = sqlite3.connect(tmp_path / "pinrail.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Retryable, match="locked"), database.transaction():
        pass
    other.close()
    with database.transaction() as db:
        db.execute(JOB)
    database.close()


def test_a_full_disk_is_retryable_and_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    database = Database(tmp_path / "pinrail.db")
    with database.transaction() as db:
        db.execute(JOB)
    database.connection().execute("PRAGMA max_page_count=1")

    def fill() -> None:
        with database.transaction() as db:
            db.execute(
                "INSERT INTO outbox (channel, body, created_at, not_before) VALUES ('x', ?, 0, 0)", ("x" * 10**6,)
            )

    with pytest.raises(Retryable, match="full"):
        fill()
    assert database.connection().execute("SELECT count(*) FROM jobs").fetchone()[0] == 1
    database.close()


def test_a_mistake_of_ours_is_no_reason_to_try_again(tmp_path: Path) -> None:
    database = Database(tmp_path / "pinrail.db")

    def mistake() -> None:
        with database.transaction() as db:
            db.execute(
                "INSERT INTO jobs (state, cause, queued_at, not_before) VALUES ('no such state', 'push', 0, 0)"
            )

    with pytest.raises(sqlite3.IntegrityError):
        mistake()
    database.close()


def test_each_thread_has_its_own_connection_and_close_closes_them_all(tmp_path: Path) -> None:
    database = Database(tmp_path / "pinrail.db")
    found: list[sqlite3.Connection] = []
    thread = threading.Thread(target=lambda: found.append(database.connection()))
    thread.start()
    thread.join()
    assert found[0] is not database.connection()
    database.close()
    with pytest.raises(sqlite3.ProgrammingError):
        found[0].execute("SELECT 1")


def test_threads_that_ended_leave_no_connection_open(tmp_path: Path) -> None:
    database = Database(tmp_path / "pinrail.db")
    found: list[sqlite3.Connection] = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: found.append(database.connection()))
        thread.start()
        thread.join()
    with pytest.raises(sqlite3.ProgrammingError):
        found[0].execute("SELECT 1")
    assert found[1].execute("SELECT 1").fetchone()[0] == 1
    database.close()


def test_a_file_that_is_no_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "pinrail.db"
    path.write_bytes(b"this is not a database, it is a text of some length" * 100)
    with pytest.raises(StateUnusable, match="move it away"):
        Database(path)


def test_a_place_that_cannot_be_made_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnusable, match="make it writable"):
        Database(tmp_path / "file" / "pinrail.db")
