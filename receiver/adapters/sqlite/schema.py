"""The version of a state file: which one it has, whether this code may open it, and how it gets a newer one.

``create_or_require`` is for whoever opens the file, ``migrate`` for the receiver alone, which holds the state lock: a
command of a newer Pinrail must not change the schema under a receiver that runs.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version as installed_version
from pathlib import Path

from receiver.adapters.sqlite.migrations import MIGRATIONS, Migration
from receiver.core.errors import PinrailError, Rejected

log = logging.getLogger(__name__)

APPLICATION_ID = int.from_bytes(b"PinR")  # what `file` and other tools tell SQLite files apart by
BUSY_SECONDS = 5.0

_Columns = Mapping[str, Sequence[tuple[object, ...]]]


class StateUnusable(PinrailError):  # noqa: N818 - the name says what is wrong
    """The state file cannot be opened as Pinrail's database."""


def create_or_require(path: Path) -> None:
    """Create the file with the newest schema, or check that it has it.

    Raises:
        Rejected: the file is of an older or a newer version, or not Pinrail's.
        StateUnusable: it cannot be read or created.
    """
    with _opened(path) as db:
        found = _read_version(db, path)
        if found is None:
            found = _create(db, path)
        if found < _newest():
            raise Rejected(
                f"{path}: found schema version {found}, this Pinrail needs {_newest()}. Only the receiver "
                "migrates the file: restart `pinrail up` with this version, then try again."
            )
        _use_wal(db)


def migrate(path: Path) -> None:
    """Bring an older file to the newest schema. Hold the state lock, and open the file only afterwards.

    Each migration is one transaction: a process that dies leaves the file at a version, and this goes on from there.

    Raises:
        Rejected: the file is of a newer version, or not Pinrail's.
        StateUnusable: it cannot be read, copied or written.
    """
    if not path.exists():
        return
    with _opened(path) as db:
        found = _read_version(db, path)
        if found is None or found == _newest():
            return
        backup = path.with_name(f"{path.name}.v{found}.bak")
        _back_up(db, backup)
        _apply(db, path, [step for step in MIGRATIONS if step.number > found])
        log.info("%s: migrated from schema version %d to %d; backup: %s", path, found, _newest(), backup)


def _newest() -> int:
    return MIGRATIONS[-1].number


@contextmanager
def state_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say while the file is opened into StateUnusable."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StateUnusable(
            f"{path}: {error}. Free some disk space or make it writable; if the file is damaged, move it "
            "away and start again: what runs is read from registry and servers, not from it."
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with state_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as db:
            yield db


def _read_version(db: sqlite3.Connection, path: Path) -> int | None:
    db.execute("BEGIN")  # one view of the file, which another process may be creating
    try:
        return _version(db, path)
    finally:
        if db.in_transaction:  # an error may have ended it
            db.execute("ROLLBACK")


def _version(db: sqlite3.Connection, path: Path) -> int | None:
    """The file's version, inside a transaction; None: it is empty, or was not there.

    Rejected: it is another program's, or of a newer Pinrail.
    """
    number, application = _pragma(db, "user_version"), _pragma(db, "application_id")
    columns = _columns(db)
    if application == APPLICATION_ID:
        if number > _newest():
            raise _too_new(db, path, number)
        return number
    if application == 0 and number == 0:
        if not columns:
            return None
        if _from_before_versions(columns):
            return 0
    raise Rejected(
        f"{path}: found a SQLite file of another program (application_id {application}, user_version {number}). "
        "Move it away, or give this receiver another PINRAIL_STATE_DIR."
    )


def _too_new(db: sqlite3.Connection, path: Path, number: int) -> Rejected:
    wrote = "a newer Pinrail"
    with suppress(sqlite3.Error, ValueError):  # a later version may have no such table or row
        [(name, release)] = db.execute("SELECT name, pinrail FROM schema_history WHERE version = ?", (number,))
        wrote = f"Pinrail {release} ({name})"
    return Rejected(
        f"{path}: found schema version {number}, written by {wrote}; this Pinrail, {installed_version('pinrail')}, "
        f"knows versions up to {_newest()}. Run that Pinrail, or stop the receiver and put the backup "
        f"{path.name}.v{_newest()}.bak in place of {path.name}, as docs/operations.md says under Downgrade Pinrail."
    )


def _from_before_versions(found: _Columns) -> bool:
    """Whether these are tables of the schema before it had a version. Other tools may have added theirs."""
    with closing(sqlite3.connect(":memory:")) as memory:
        for statement in MIGRATIONS[0].statements():
            memory.execute(statement)
        ours = _columns(memory)
    shared = ours.keys() & found.keys()
    return bool(shared) and all(found[table] == ours[table] for table in shared)


def _columns(db: sqlite3.Connection) -> _Columns:
    names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'")
    return {
        name: db.execute("SELECT name, type, pk FROM pragma_table_info(?)", (name,)).fetchall()
        for (name,) in names.fetchall()
    }


def _back_up(db: sqlite3.Connection, backup: Path) -> None:
    """Copy the file as it is, what only its write-ahead log has included. It appears whole or not at all."""
    unfinished = backup.with_name(f"{backup.name}.part")
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as copy:
        db.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it to forget
    unfinished.replace(backup)


def _use_wal(db: sqlite3.Connection) -> None:
    """Once per file, which remembers it. SQLite does not wait here for another process that opens the file."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _create(db: sqlite3.Connection, path: Path) -> int:
    """Create the schema, unless another process just has; returns the version that the file has now.

    One transaction for all migrations: nobody sees a new file at an older version.
    """
    with _writing(db):
        found = _version(db, path)
        if found is not None:
            return found
        for step in MIGRATIONS:
            _apply_one(db, step)
    return _newest()


def _apply(db: sqlite3.Connection, path: Path, steps: Sequence[Migration]) -> None:
    for step in steps:
        with _writing(db):
            if (_version(db, path) or 0) < step.number:
                _apply_one(db, step)


@contextmanager
def _writing(db: sqlite3.Connection) -> Iterator[None]:
    """One transaction that may change the schema, on disk when it is left."""
    db.execute("PRAGMA foreign_keys=OFF")  # a table may be rebuilt; this has no effect inside a transaction
    db.execute("PRAGMA synchronous=FULL")
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk has rolled back by itself
            db.execute("ROLLBACK")
        raise


def _apply_one(db: sqlite3.Connection, step: Migration) -> None:
    for statement in step.statements():
        db.execute(statement)
    dangling = db.execute("PRAGMA foreign_key_check").fetchall()
    if dangling:
        raise RuntimeError(f"migration {step.name} leaves rows without their parent: {dangling[:3]}")
    db.execute(
        "INSERT INTO schema_history (version, name, pinrail, applied_at) VALUES (?, ?, ?, ?)",
        (step.number, step.name, installed_version("pinrail"), time.time()),
    )
    db.execute(f"PRAGMA user_version={step.number}")
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
