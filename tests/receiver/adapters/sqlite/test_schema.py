"""Versions of the state file: an older one is migrated, a newer or a foreign one refused, and nothing is lost."""

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from receiver.adapters.sqlite import schema
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import KEPT_REPEATS, SqliteJournal
from receiver.adapters.sqlite.migrations import MIGRATIONS, Migration
from receiver.adapters.sqlite.queries import StateQueries
from receiver.adapters.sqlite.queue import Queue
from receiver.adapters.sqlite.schema import create_or_require, migrate
from receiver.core.deployment import Outcome
from receiver.core.errors import PinrailError, Rejected
from receiver.core.state import Slot

VERSION_0 = Path(__file__).with_name("version_0.sql")
NEWEST = MIGRATIONS[-1].number
NEXT = Migration(NEWEST + 1, "notes", "ALTER TABLE jobs ADD COLUMN added TEXT;\n-- the end\n")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file as a receiver from before versions left it."""
    path = tmp_path / "pinrail.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(VERSION_0.read_text(encoding="utf-8"))
    return path


def rows(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in tables}  # noqa: S608 - its own tables


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def definitions(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as db:
        return {(name, " ".join(sql.split())) for name, sql in db.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")}  # fmt: skip


@pytest.fixture
def one_more(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This code, one migration later."""
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, NEXT))
        yield


def test_a_new_file_has_the_newest_version_and_says_who_made_it(tmp_path: Path) -> None:
    path = tmp_path / "pinrail.db"
    create_or_require(path)
    assert version(path) == NEWEST
    assert [row[:2] for row in rows(path)["schema_history"]] == [(step.number, step.name) for step in MIGRATIONS]


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    assert [step.number for step in MIGRATIONS] == list(range(1, NEWEST + 1))


def test_a_file_from_before_versions_becomes_version_1_and_keeps_every_row(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", MIGRATIONS[:1])
    before = rows(old)
    migrate(old)
    assert version(old) == 1
    assert {table: found for table, found in rows(old).items() if table != "schema_history"} == before


def test_a_migrated_file_has_the_schema_of_a_new_one(old: Path, tmp_path: Path) -> None:
    migrate(old)
    create_or_require(tmp_path / "new.db")
    assert {name for name, _ in definitions(old)} == {name for name, _ in definitions(tmp_path / "new.db")}
    with closing(sqlite3.connect(old)) as db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_of_an_entrys_repetitions_the_last_are_kept_in_an_older_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pinrail.db"
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", MIGRATIONS[:2])
        create_or_require(path)
    with closing(sqlite3.connect(path)) as db:
        insert = (
            "INSERT INTO deployments (id, environment, model, revision, cause, plan, state, started_at, repeat_of)"
            " VALUES (?, 'staging', 'churn-model', 'c', 'drift', '[]', 'needs-human', 0, ?)"
        )
        repeats = [(number, 1) for number in range(2, 1_000)]
        db.executemany(insert, [(1, None), *repeats, (1_000, None), (1_001, 1_000)])
        db.execute("UPDATE deployments SET repeats = 998 WHERE id = 1")
        db.executemany("INSERT INTO steps VALUES (?, 1, '{}', 0, 0, 'no')", [(number,) for number in range(1, 1_002)])
        db.commit()
    migrate(path)
    kept = [1, *range(1_000 - KEPT_REPEATS, 1_002)]
    with closing(sqlite3.connect(path)) as db:
        assert [number for (number,) in db.execute("SELECT id FROM deployments ORDER BY id")] == kept
        assert [number for (number,) in db.execute("SELECT deployment FROM steps ORDER BY deployment")] == kept
        assert db.execute("SELECT repeats FROM deployments WHERE id = 1").fetchall() == [(998,)]


def test_a_receiver_goes_on_with_what_an_older_one_has_recorded(old: Path) -> None:
    migrate(old)
    database = Database(old)
    journal, queue = SqliteJournal(database), Queue(database)
    staging, production = Slot("staging", "churn-model"), Slot("production", "churn-model")
    assert {slot: live.version for slot, live in journal.verified().items()} == {staging: 5, production: 5}
    assert journal.verified()[staging].port is None  # older ones did not record it
    assert [d.state for d in journal.history(staging)] == [Outcome.LIVE, Outcome.ROLLED_BACK, Outcome.RUNNING]
    assert [d.state for d in journal.history(production)] == [Outcome.LIVE, Outcome.WAITING, Outcome.REFUSED]
    assert {(q.slot, q.version, q.needs_human) for q in journal.quarantined()} == {
        (staging, 6, False),
        (production, 4, True),
    }
    assert [step.result for step in journal.steps(6)] == [None]
    assert StateQueries(database).unsent() == 3
    assert [delivery.id for delivery in StateQueries(database).deliveries(9)] == ["d-4", "d-3", "d-2", "d-1"]
    job = queue.recover()
    assert job is not None
    assert (job.id, job.causes) == (2, ("push", "timer"))
    database.close()


def test_a_file_whose_creation_was_cut_off_before_versions_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "pinrail.db"
    with closing(sqlite3.connect(path)) as db:
        for statement in list(MIGRATIONS[0].statements())[1:4]:  # what has a version begins with schema_history
            db.execute(statement)
        db.commit()
    migrate(path)
    create_or_require(tmp_path / "new.db")
    assert definitions(path) == definitions(tmp_path / "new.db")


def test_tables_that_another_tool_has_added_stay(old: Path) -> None:
    with closing(sqlite3.connect(old)) as db:
        db.execute("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)")
    migrate(old)
    assert "_litestream_seq" in rows(old)
    assert version(old) == NEWEST


def test_a_backup_that_only_its_owner_can_read_is_kept_beside_a_migrated_file(old: Path) -> None:
    before = rows(old)
    with closing(sqlite3.connect(old)) as db:  # while it is open, its log holds what the file lacks
        db.execute("INSERT INTO outbox (channel, body, created_at, not_before) VALUES ('x', '{}', 0, 0)")
        db.commit()
        migrate(old)
    backup = old.with_name("pinrail.db.v0.bak")
    found = rows(backup)
    assert len(found["outbox"]) == len(before["outbox"]) + 1
    assert {**found, "outbox": before["outbox"]} == before
    assert version(backup) == 0
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert sorted(path.name for path in old.parent.glob("*.bak*")) == ["pinrail.db.v0.bak"]


def test_a_file_of_the_newest_version_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pinrail.db"
    migrate(path)
    assert not path.exists()
    create_or_require(path)
    content = path.read_bytes()
    migrate(path)
    create_or_require(path)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["pinrail.db"]


@pytest.mark.usefixtures("one_more")
def test_only_the_receiver_migrates_and_others_refuse_an_older_file_and_leave_it(old: Path) -> None:
    content = old.read_bytes()
    with pytest.raises(Rejected, match=rf"found schema version 0, this Pinrail needs {NEWEST + 1}.*`pinrail up`"):
        Database(old)
    assert old.read_bytes() == content
    migrate(old)
    Database(old).close()
    assert version(old) == NEWEST + 1


def test_a_file_of_a_newer_pinrail_is_refused_with_its_name_and_the_backup(old: Path) -> None:
    migrate(old)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, NEXT))
        patch.setattr(schema, "installed_version", lambda _: "7.1.0")
        migrate(old)
    content = old.read_bytes()
    for opening in (create_or_require, migrate):
        with pytest.raises(Rejected) as refused:
            opening(old)
        said = str(refused.value)
        assert f"{old}: found schema version {NEWEST + 1}, written by Pinrail 7.1.0" in said
        assert f"pinrail.db.v{NEWEST}.bak" in said
    assert old.read_bytes() == content
    assert version(old.with_name(f"pinrail.db.v{NEWEST}.bak")) == NEWEST


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE notes (id INTEGER)",
        "CREATE TABLE jobs (id INTEGER PRIMARY KEY, title TEXT)",
        "PRAGMA user_version = 1",
        "PRAGMA application_id = 252006673",
    ],
)
def test_a_sqlite_file_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path, made: str) -> None:
    path = tmp_path / "pinrail.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute(made)
        db.commit()
    content = path.read_bytes()
    for opening in (create_or_require, migrate):
        with pytest.raises(Rejected, match="another program"):
            opening(path)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["pinrail.db"]


def test_a_migration_that_would_break_a_reference_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(old)
    before = rows(old)
    careless = Migration(NEWEST + 1, "careless", "DELETE FROM jobs;")
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, careless))
    with pytest.raises(RuntimeError, match="careless leaves rows without their parent"):
        migrate(old)
    assert rows(old) == before
    assert version(old) == NEWEST


@pytest.mark.usefixtures("one_more")
def test_a_backup_that_cannot_be_written_leaves_the_file_as_it_was(old: Path) -> None:
    old.with_name("pinrail.db.v0.bak.part").mkdir()
    with pytest.raises(PinrailError, match="make it writable"):
        migrate(old)
    assert version(old) == 0


@pytest.mark.long
def test_a_kill_anywhere_in_a_migration_leaves_a_whole_version_that_the_next_start_goes_on_from(
    old: Path, tmp_path: Path
) -> None:
    old.rename(tmp_path / "before.db")
    before = rows(tmp_path / "before.db")
    assert processes("kill", str(tmp_path)) == "0"
    ends = [version(path) for path in sorted(tmp_path.glob("[0-9]*.db"), key=lambda path: int(path.stem))]
    assert ends == sorted(ends)  # killed later, it is as far or farther
    assert set(ends) == set(range(NEWEST + 2))
    for path in tmp_path.glob("[0-9]*.db"):
        reached, found = version(path), rows(path)
        assert len(found["jobs"]) == len(before["jobs"])
        assert found["deliveries"] == before["deliveries"]
        assert ("jobs_new" in found, len(found["jobs"][0]) > len(before["jobs"][0])) == (False, reached > NEWEST)
        if reached <= NEWEST:
            migrate(path)
            assert version(path) == NEWEST


def test_nobody_sees_a_new_file_at_an_older_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, connect, seen = tmp_path / "pinrail.db", sqlite3.connect, set[int]()

    def read_version(_: str) -> None:
        with closing(connect(path, timeout=0.0)) as other:
            seen.add(int(other.execute("PRAGMA user_version").fetchone()[0]))

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(read_version)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", traced)
        create_or_require(path)
    assert seen == {0, NEWEST}


def test_processes_that_create_the_file_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "pinrail.db"
    assert processes("create", str(path), "8") == str([0] * 8)
    assert len(rows(path)["outbox"]) == 8
    assert len(rows(path)["schema_history"]) == len(MIGRATIONS)


def processes(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.support.state_processes", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() or done.stderr
