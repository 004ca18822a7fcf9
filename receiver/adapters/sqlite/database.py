"""The receiver's state in one SQLite file: WAL mode, and each commit is on disk when it returns."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from receiver.adapters.sqlite.schema import create_or_require, state_errors
from receiver.core.errors import Retryable

BUSY_SECONDS = 5.0
SETTINGS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")


class Database:
    """Connections to one file, one per thread.

    ``synchronous=FULL``: a commit that returned has reached the disk, which is what a 202 promises.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._opened: dict[threading.Thread, sqlite3.Connection] = {}
        # On a locked file SQLite sleeps for up to 0.1 s between attempts. Our threads wait for each other here
        # instead, so only other processes can make them sleep.
        self._write_lock = threading.Lock()
        create_or_require(path)
        with state_errors(path):
            self.connection()

    def connection(self) -> sqlite3.Connection:
        """This thread's connection; rows are addressed by name."""
        existing: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if existing is not None:
            return existing
        # Each thread uses only its own connection; the check is off so that close() may close them all.
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        for setting in SETTINGS:
            connection.execute(f"PRAGMA {setting}")
        self._local.connection = connection
        for ended in [thread for thread in list(self._opened) if not thread.is_alive()]:
            with suppress(KeyError):  # another thread has closed it
                self._opened.pop(ended).close()  # listeners start and end threads
        self._opened[threading.current_thread()] = connection
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Take the write lock, commit on leaving, roll back on an error.

        Raises:
            Retryable: the file is locked by another process, or the disk is full, read-only or damaged.
        """
        if not self._write_lock.acquire(timeout=BUSY_SECONDS):
            raise Retryable(
                f"the state database {self.path} cannot be written: another thread of this receiver holds it"
            )
        try:
            connection = self.connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk has rolled back by itself
                    connection.execute("ROLLBACK")
                raise
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
            raise  # a bug, not the outside
        except sqlite3.Error as error:
            raise Retryable(f"the state database {self.path} cannot be written: {error}") from error
        finally:
            self._write_lock.release()

    def close(self) -> None:
        """Close all threads' connections; none may use the database afterwards."""
        while self._opened:
            self._opened.popitem()[1].close()
