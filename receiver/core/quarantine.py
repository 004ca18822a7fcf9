"""A version that failed in a slot and is not tried again there. Pure."""

from dataclasses import dataclass

from receiver.core.state import Slot


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A version that failed in a slot at a commit. ``needs_human``: the whole slot is held."""

    slot: Slot
    version: int
    revision: str
    reason: str
    needs_human: bool
    since: float  # seconds since the epoch
