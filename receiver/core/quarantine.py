"""What is held in a slot: versions that failed or that a person took out, and slots that a person froze. Pure."""

import hashlib
import json
from dataclasses import dataclass

from ml.environment.file import Environment, Pin, Resources
from ml.evidence import gate_digest
from receiver.core.state import Slot


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A version that failed in a slot, or that a person took out. ``needs_human``: the whole slot is held.

    It holds for as long as the slot is pinned as it was then: a commit that changes something else lifts nothing.
    """

    slot: Slot
    version: int
    revision: str
    reason: str
    needs_human: bool
    since: float  # seconds since the epoch
    terms: str = ""  # of the pin at that time, see terms_of(); empty: an older Pinrail did not record them
    manual: bool = False  # a person took it out
    released: bool = False  # the pin was changed since

    def holds(self, pinned: int, terms: str) -> bool:
        """It still applies to a slot that is pinned like this."""
        unchanged = self.terms == terms if self.terms else self.needs_human or self.version == pinned
        return not self.released and unchanged

    @property
    def lifting(self) -> str:
        """One line about a merge that ends it."""
        who = "a person took it out" if self.manual else "it failed"
        return f"the merge ends the hold of v{self.version} ({who}): {self.reason.partition(chr(10))[0]}"


@dataclass(frozen=True, slots=True)
class Freeze:
    """A person lets nothing new be deployed here. Healing and rollback go on."""

    environment: str
    model: str | None  # None: every model of the environment
    reason: str
    since: float  # seconds since the epoch

    def covers(self, slot: Slot) -> bool:
        """It applies to the slot."""
        return self.environment == slot.environment and self.model in (None, slot.model)


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """What a person asked for, from the command line or the pages."""

    at: float  # seconds since the epoch
    who: str
    action: str
    result: str


def terms_of(environment: Environment, pin: Pin) -> str:
    """A digest of everything that decides how a version is let in and served here; equal: nothing was changed."""
    override = (pin.override.version, pin.override.reason) if pin.override else None
    said = [pin.version, pin.port, pin.egress, override, gate_digest(environment.gate_for(pin.model))]
    if pin.replicas != 1 or pin.resources != Resources():  # else the digest is that of an earlier Pinrail
        said.append(f"{pin.replicas} {pin.resources.cpus:g} {pin.resources.memory_mb}")
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
