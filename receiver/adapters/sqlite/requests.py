"""Who asked for what: a record that only grows."""

import time

from receiver.adapters.sqlite.database import Database
from receiver.core.quarantine import RecordedRequest
from receiver.core.redact import Redactor
from receiver.core.state import Slot


class RequestRecords:
    """:class:`receiver.ports.Requests` in the state file."""

    def __init__(self, database: Database, redact: Redactor | None = None) -> None:
        self._database = database
        self._redact = redact or Redactor()

    def record(self, who: str, action: str, place: tuple[str, str], result: str) -> None:
        """Commit one. ``place``: environment and model, empty where it is about all of them."""
        values = (time.time(), self._redact.line(who), action, *place, self._redact.lines(result))
        with self._database.transaction() as db:
            db.execute(
                "INSERT INTO requests (at, who, action, environment, model, result) VALUES (?,?,?,?,?,?)", values
            )

    def of(self, slot: Slot, limit: int = 10) -> list[RecordedRequest]:
        """The last ones about a slot, its environment or everything; newest first."""
        rows = self._database.connection().execute(
            "SELECT at, who, action, result FROM requests WHERE environment IN (?, '') AND model IN (?, '')"
            " ORDER BY id DESC LIMIT ?",
            (slot.environment, slot.model, limit),
        )
        return [RecordedRequest(*row) for row in rows]
