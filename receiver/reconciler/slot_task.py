"""What is being done in a slot, on a thread of its own, and when it has to give way."""

import threading
from dataclasses import dataclass, field

from receiver.core.plan import Purpose
from receiver.core.policy import Hold
from receiver.core.quarantine import terms_of
from receiver.core.state import Role, Slot
from receiver.planning.observe import Observation
from receiver.reconciler.exchange import Exchange
from receiver.reconciler.fetcher import Head
from receiver.reconciler.interruptible import Interrupt
from receiver.reconciler.reconcile import SlotResult


@dataclass
class SlotTask:
    """What is being done in a slot, on a thread of its own."""

    slot: Slot
    purpose: Purpose
    version: int | None
    terms: str  # of the pin that it works for
    began: float  # seconds since the epoch
    exchange: Exchange | None = None  # its port is another slot's, and both move in one step
    interrupt: Interrupt = field(default_factory=Interrupt)
    thread: threading.Thread | None = None
    result: SlotResult | None = None  # None: it did not come that far
    failure: str = ""  # why it did not
    ended: bool = False

    @property
    def restores(self) -> bool:
        """It brings back what was verified before."""
        return self.purpose in (Purpose.RESTORE, Purpose.ROLL_BACK)


@dataclass
class SlotState:
    """What the controller remembers of a slot between turns; all of it may be lost."""

    task: SlotTask | None = None
    attempts: int = 0  # in a row that came to nothing
    not_before: float = 0.0  # monotonic
    noted: tuple[str, int | None, Hold | None] | None = None
    live_at: float | None = None  # when its live server was last seen, seconds since the epoch
    degraded: bool = False
    hindrance: str = ""  # why the last attempt was interrupted
    waits: str = ""  # what a deployment that could begin waits for


def why_interrupt(head: Head, seen: Observation, task: SlotTask) -> str:
    """Why a task has to give way, or nothing."""
    slot = task.slot
    environment, pin = seen.pin(slot)
    if environment is not None and pin is not None:
        taken = next((q for q in seen.held(slot) if q.manual and q.version == task.version), None)
        if taken is not None and taken.since > task.began:
            return f"v{task.version} was taken out: {taken.reason}"
    frozen = next((freeze for freeze in seen.frozen if freeze.covers(slot) and freeze.since > task.began), None)
    if frozen is not None and not task.restores:
        return f"{slot} is held: {frozen.reason}"
    terms = terms_of(environment, pin) if environment is not None and pin is not None else ""
    if head.problem or terms == task.terms:
        return ""
    live = any(s.role is Role.LIVE and (s.spec.slot, s.spec.version) == (slot, task.version) for s in seen.servers)
    if task.restores and not live:
        return ""  # nobody answers yet, so this comes first
    pinned = f"pins v{pin.version}" if pin is not None else "removes the pin"
    return f"{seen.snapshot.commit[:12]} {pinned}"
