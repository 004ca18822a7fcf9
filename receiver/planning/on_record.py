"""Which environments and models were ever seen on this machine."""

import sys
from collections.abc import Sequence

from ml.environment.file import did_you_mean
from receiver.core.state import Slot
from receiver.ports import Journal


def unknown_slot(journal: Journal, environment: str | None, model: str | None) -> str | None:
    """Say that no such environment or model was ever seen here, and what may be meant; None: it was."""
    slots = known_slots(journal)
    for what, name, known in (
        ("environment", environment, {slot.environment for slot in slots}),
        ("model", model, {slot.model for slot in slots}),
    ):
        if name is not None and known and name not in known:
            return f"no {what} {name!r} is on record: {did_you_mean(name, sorted(known))}"
    return None


def known_slots(journal: Journal) -> Sequence[Slot]:
    """Every slot that has a deployment on record."""
    return sorted({deployment.draft.slot for deployment in journal.recent(sys.maxsize)})
