"""Processes that open one state file. A script of its own, because it forks, which a process with threads must not.

``create PATH COUNT``: that many processes create the file at once; prints how each ended.
``kill FOLDER``: migrates a copy of ``FOLDER/before.db``, ``FOLDER/<n>.db``, killed at its n-th statement, for each n.
"""

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from receiver.adapters.sqlite import schema
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.migrations import MIGRATIONS, Migration

REBUILD = Migration(
    len(MIGRATIONS) + 1,
    "rebuild",
    """
    CREATE TABLE jobs_new AS SELECT *, 'new' AS added FROM jobs;
    DROP TABLE jobs;  -- deliveries refer to it
    ALTER TABLE jobs_new RENAME TO jobs;
    CREATE UNIQUE INDEX jobs_id ON jobs(id);
    """,
)


def create(path: Path, count: int) -> None:
    gate_out, gate_in = os.pipe()

    def open_it() -> None:
        os.close(gate_in)
        os.read(gate_out, 1)  # until the parent has closed it
        database = Database(path)
        with database.transaction() as db:
            db.execute("INSERT INTO outbox (channel, body, created_at, not_before) VALUES ('x', '{}', 0, 0)")
        database.close()

    children = [_fork(open_it) for _ in range(count)]
    os.close(gate_in)
    sys.stdout.write(f"{[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]}\n")


def kill(folder: Path) -> None:
    schema.MIGRATIONS = (*MIGRATIONS, REBUILD)
    number, ended = 0, -signal.SIGKILL
    while ended == -signal.SIGKILL:
        path = folder / f"{number}.db"
        shutil.copy(folder / "before.db", path)
        ended = os.waitstatus_to_exitcode(os.waitpid(_fork(lambda p=path, n=number: _migrate(p, n)), 0)[1])
        number += 1
    sys.stdout.write(f"{ended}\n")


def _migrate(path: Path, killed_at: int) -> None:
    statements = iter(range(killed_at + 1))
    connect = sqlite3.connect

    def trace(_: str) -> None:
        if next(statements) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(trace)
        return connection

    sqlite3.connect = traced
    schema.migrate(path)


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except Exception as error:  # noqa: BLE001 - whoever runs this reads it
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            os._exit(code)
    return child


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["create", path, count]:
            create(Path(path), int(count))
        case ["kill", folder]:
            kill(Path(folder))
