"""What a person asks the receiver to do, from the command line or the pages; each request is recorded with who asked.

Deciding and acting stay with the receiver: these write what it obeys, or propose a change to the pins.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from receiver.core.errors import PinrailError, Rejected
from receiver.core.pins import read_pins
from receiver.core.quarantine import Freeze
from receiver.core.state import Slot
from receiver.planning.on_record import unknown_slot
from receiver.ports import Jobs, Journal, Requests
from receiver.pull_requests.open_pull_request import ProposedChange, Upstream
from receiver.pull_requests.promotion import PinChange
from receiver.pull_requests.propose_promotion import propose_promotion
from receiver.pull_requests.rollback import hold_newer, plan_rollback, propose_later
from receiver.services import Services


@dataclass(frozen=True, slots=True)
class Operations:
    """The requests that write to this machine alone. ``who`` says who asks, and from where."""

    journal: Journal
    jobs: Jobs
    requests: Requests
    who: str

    def hold(self, environment: str, model: str | None, message: str) -> str:
        """Let nothing new be deployed there. Returns what was done. Rejected: there is no such environment or pin."""
        _require_pinned(self.journal, environment, model)
        self.journal.freeze(Freeze(environment, model, message, time.time()))
        place = place_name(environment, model)
        done = f"{place} is held: nothing new is deployed there until `pinrail resume`"
        return self._recorded("hold", (environment, model or ""), done, f"held: {message}")

    def resume(self, environment: str, model: str | None) -> str:
        """Let new versions be deployed there again. Returns what was done. Rejected: it is not held."""
        if not self.journal.unfreeze(environment, model):
            frozen = self.journal.frozen()
            held = ", ".join(place_name(freeze.environment, freeze.model) for freeze in frozen) or "nothing"
            raise Rejected(
                f"{place_name(environment, model)} is not held; held: {held}. A version that failed is tried again "
                "with `pinrail retry`"
            )
        done = f"{place_name(environment, model)} is not held any more"
        return self._recorded("resume", (environment, model or ""), done)

    def retry(self, environment: str | None, model: str | None) -> str:
        """Lift the matching quarantines and request a fetch. Returns what was done.

        Rejected: nothing by that name is in quarantine.
        """
        quarantined = {entry.slot for entry in self.journal.quarantined()}
        chosen = sorted(s for s in quarantined if environment in (None, s.environment) and model in (None, s.model))
        if environment is not None and not chosen:
            names = ", ".join(map(str, sorted(quarantined))) or "nothing"
            unknown = unknown_slot(self.journal, environment, model)
            said = unknown or f"{environment}/{model or '*'} is not in quarantine"
            raise Rejected(f"{said}; in quarantine: {names}")
        for slot in chosen:
            self.journal.lift(slot)
        self.jobs.enqueue("retry")
        lifted = f"lifted: {', '.join(map(str, chosen))}" if chosen else "nothing was in quarantine"
        return self._recorded("retry", (environment or "", model or ""), lifted)

    def fetch(self) -> str:
        """Request a fetch of the branch head now. Returns what was done."""
        job = self.jobs.enqueue("request")
        return self._recorded("fetch", ("", ""), f"job {job} fetches the branch head")

    def _recorded(self, action: str, place: tuple[str, str], done: str, result: str = "") -> str:
        self.requests.record(self.who, action, place, result or done)
        return done


@dataclass(frozen=True, slots=True)
class ChangeOperations:
    """The requests that change a pin: through a pull request, or with it."""

    services: Services
    upstream: Callable[[], Upstream]
    requests: Requests
    who: str

    def promote(self, change: PinChange) -> ProposedChange:
        """Propose a version, if the receiver would accept it. See :func:`propose_promotion`."""
        proposed = propose_promotion(self.services, self.upstream(), change)
        self.record("promote", Slot(change.environment, change.model), proposed.promotion.title)
        return proposed

    def roll_back_now(self, slot: Slot, to: int | None, reason: str) -> str:
        """Have the receiver restore the version before, hold the pinned one, and propose the change of the pin.

        Returns what happens next. Rejected: no other version was verified here.
        """
        plan = plan_rollback(self.services, slot, to, now=True)
        hold_newer(self.services, plan, reason)
        propose_later(self.services, plan, reason)
        done = (
            f"v{plan.pinned} is held, and the receiver restores v{plan.target}; it opens a pull request for the pin"
        )
        self.record("roll back", slot, f"{done}: {reason}")
        return done

    def record(self, action: str, slot: Slot, result: str) -> None:
        """Note what was asked for."""
        self.requests.record(self.who, action, (slot.environment, slot.model), result)


def target_of_rollback(services: Services, slot: Slot) -> tuple[int, int] | str:
    """The pinned version and the one that a rollback would restore; or why there is none."""
    try:
        plan = plan_rollback(services, slot, None, now=True)
    except PinrailError as error:
        return str(error)
    return plan.pinned, plan.target


def place_name(environment: str, model: str | None) -> str:
    """An environment, or one model in it."""
    return environment if model is None else f"{environment}/{model}"


def _require_pinned(journal: Journal, environment: str, model: str | None) -> None:
    """Names are checked where the pins are known already; a hold may come before they were fetched."""
    snapshot = journal.remembered_pins()
    if snapshot is None:
        return
    desired = read_pins(snapshot.files)
    if model is None:
        desired.environment(environment)
    else:
        desired.pin(environment, model)
