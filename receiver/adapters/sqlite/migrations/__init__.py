"""The numbered steps that bring a state file to this code's schema; ``PRAGMA user_version`` is the last one applied.

To change the schema, add a file ``<number>_<name>.sql`` with the next number, for example ``0002_append_only.sql``.
Nothing else has to be registered: the highest number is the version that this code needs.

- Write plain SQL statements without BEGIN or COMMIT. A migration and its number are committed in one transaction,
  with foreign keys off and checked before the commit, so a table may be rebuilt and renamed.
- Never edit a migration that has been released: files in the field have it behind them.
- The code need not know older schemas. Only the receiver migrates, before it opens the file, and keeps a backup.
- Extend ``tests/receiver/adapters/sqlite/test_schema.py``, whose file of version 0 is migrated through all of them.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: ``number`` is the schema version that it leads to."""

    number: int
    name: str
    sql: str

    def statements(self) -> Iterator[str]:
        """Each statement by itself: ``executescript`` would commit the transaction around it first."""
        statement = ""
        for line in self.sql.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                yield statement
                statement = ""
        if statement.strip():
            yield statement


def load_migrations() -> tuple[Migration, ...]:
    """All migrations in order."""
    files = sorted(
        (file for file in resources.files(__package__).iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    return tuple(
        Migration(int(file.name[:4]), file.name.removesuffix(".sql"), file.read_text(encoding="utf-8"))
        for file in files
    )


MIGRATIONS = load_migrations()
