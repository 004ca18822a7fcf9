"""How ready this machine is to go back from a version: what was measured, and nothing else. Pure."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from receiver.core.deployment import Deployment, KeptVersion, Verified, WayBack, last_verified
from receiver.core.quarantine import Quarantine
from receiver.core.state import Slot
from receiver.core.times import iso


class Records(Protocol):
    """What the journal knows of versions and their files."""

    def history(self, slot: Slot) -> Iterable[Deployment]:
        """Every deployment of one slot, oldest first."""
        ...

    def quarantined(self) -> Iterable[Quarantine]:
        """What is in quarantine."""
        ...

    def kept(self) -> Mapping[tuple[str, int, str], KeptVersion]:
        """The files that were checked, by model, version and digest."""
        ...

    def last_start(self, slot: Slot, version: int) -> float | None:
        """How many seconds a version's last start in a slot took."""
        ...


def target_of(records: Records, slot: Slot, leaving: int | None) -> Verified | None:
    """The state that a slot goes back to from the version ``leaving``; None: nothing else was verified there."""
    held = {entry.version for entry in records.quarantined() if entry.slot == slot}
    return last_verified(records.history(slot), {leaving, *held})


def way_back(records: Records, slot: Slot, leaving: int | None) -> WayBack | None:
    """How ready that state is; None: there is none."""
    target = target_of(records, slot, leaving)
    if target is None or target.version is None or target.digest is None:
        return None
    kept = records.kept().get((slot.model, target.version, target.digest))
    problem = "its files have not been checked yet" if kept is None else kept.problem
    return WayBack(
        environment=slot.environment,
        model=slot.model,
        version=target.version,
        ready=not problem,
        verified=iso(kept.at) if kept is not None and not problem else None,
        start_seconds=records.last_start(slot, target.version),
        problem=problem,
    )
