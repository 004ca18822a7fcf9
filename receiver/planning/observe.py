"""Looking without touching: what is pinned, what is true, and what would be done about it.

``reconcile.py`` acts on this; ``pinrail plan``, ``pinrail status`` and the dashboard show it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ml.environment.file import Environment, Pin
from receiver.adapters.sqlite.journal import Quarantine
from receiver.core.deployment import Outcome, Verified, last_verified
from receiver.core.errors import InvalidPins, Rejected, Retryable
from receiver.core.pins import Desired, read_pins
from receiver.core.plan import Action, EnvironmentSlot, Goal, World, plan
from receiver.core.policy import Hold, PromotionRequest, decide
from receiver.core.state import RegistryView, Role, Server, ServerSpec, Slot
from receiver.ports import Snapshot
from receiver.services import Services


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at git, registry, servers and our own record of what was verified."""

    snapshot: Snapshot
    desired: Desired
    servers: Sequence[Server]
    registry: dict[str, RegistryView]
    registry_down: str | None  # why the registry could not be asked
    verified: dict[Slot, Verified]
    quarantined: Sequence[Quarantine]  # at this commit

    def slots(self) -> list[Slot]:
        """Every slot that is pinned, running or was verified; lower environments first."""
        order = {environment.name: place for place, environment in enumerate(self.desired.environments)}
        pinned = {Slot(e.name, model) for e in self.desired.environments for model in e.models}
        running = {server.spec.slot for server in self.servers}
        kept = {slot for slot, verified in self.verified.items() if verified.version is not None}
        return sorted(pinned | running | kept, key=lambda slot: (order.get(slot.environment, len(order)), slot))

    def pin(self, slot: Slot) -> tuple[Environment | None, Pin | None]:
        """The environment and the pin of a slot, each None where git has none."""
        environment = next((e for e in self.desired.environments if e.name == slot.environment), None)
        return environment, environment.models.get(slot.model) if environment else None

    def world(self, slot: Slot) -> World:
        """What the planner needs to know about one slot."""
        view = self.registry.get(slot.model)
        environments = [
            EnvironmentSlot(e.name, e.alias, e.stage, self._pinned_version(Slot(e.name, slot.model), e.alias, view))
            for e in self.desired.environments
        ]
        return World([s for s in self.servers if s.spec.slot == slot], view, environments)

    def _pinned_version(self, slot: Slot, alias: str, view: RegistryView | None) -> int | None:
        """The version that belongs in a slot: its alias only where we know no better, for a person may move it."""
        verified = self.verified.get(slot)
        if verified is not None:
            return verified.version
        return view.aliases.get(alias) if view else None


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is to be done about one slot, and why not more."""

    slot: Slot
    pinned: int | None
    verified: Verified | None
    goal: Goal | None  # None: hands off
    actions: Sequence[Action]
    hold: Hold | None = None  # why the pinned version is not the goal
    override: str | None = None
    retry: str | None = None  # why this finding is provisional: the outside could not be asked

    @property
    def drift(self) -> bool:
        """The goal was reached before, and the world has moved away from it since."""
        reached = self.goal is not None and self.goal.verified
        return reached and (self.hold is None or self.hold.state is not Outcome.ROLLED_BACK)

    @property
    def in_sync(self) -> bool:
        """Nothing is to be done; nor to be recorded, such as that a slot whose pin was removed is empty already."""
        return not self.actions and (self.goal is None or self.goal.verified)


def look(services: Services) -> Observation:
    """Fetch the branch head and observe everything that it, or we, know of. InvalidPins: the head's are not."""
    return observe_at(services, services.source.snapshot())


def observe_at(services: Services, snapshot: Snapshot) -> Observation:
    """Observe everything for the pins of one snapshot, also a proposed one. InvalidPins: they are not."""
    desired = read_desired(services, snapshot)
    return refresh(services, Observation(snapshot, desired, (), {}, None, services.journal.verified(), ()))


def read_desired(services: Services, snapshot: Snapshot) -> Desired:
    """What a snapshot pins. InvalidPins: nothing, for one file is wrong or, though it serves something, gone."""
    known = {slot.environment for slot, was in services.journal.verified().items() if was.version is not None}
    try:
        return read_pins(snapshot.files, known)
    except Rejected as error:
        raise InvalidPins(str(error), snapshot.commit) from error


def refresh(services: Services, before: Observation) -> Observation:
    """Observe registry and servers anew for the commit that ``before`` looked at."""
    servers = services.target.observe()
    seen = replace(
        before,
        servers=servers,
        verified=services.journal.verified(),
        quarantined=services.journal.quarantined(before.snapshot.commit),
    )
    try:
        views = services.registry.observe(sorted({slot.model for slot in seen.slots()}))
    except (Retryable, Rejected) as error:  # away, or it knows us not: servers are looked after all the same
        return replace(seen, registry={}, registry_down=str(error))
    return replace(seen, registry=views, registry_down=None)


def assess(services: Services, seen: Observation, slot: Slot) -> Assessment:
    """Decide what one slot's goal is, and plan the way there."""
    environment, pin = seen.pin(slot)
    verified = seen.verified.get(slot)
    if pin is None or environment is None:
        return _finding(seen, _removed(seen, slot))
    incumbent = _incumbent(seen, slot, environment, pin, _trusted(services, seen, slot))
    in_sync = Assessment(slot, pin.version, verified, incumbent, ())
    held = next((q for q in seen.quarantined if q.slot == slot and (q.needs_human or q.version == pin.version)), None)
    if held is not None and held.needs_human:
        return replace(in_sync, goal=None, hold=Hold(Outcome.NEEDS_HUMAN, held.reason))
    if held is not None:
        empty = Goal(slot, None, verified=True, undo=services.journal.touched(slot))
        goal = _where_it_was(seen, incumbent) if incumbent else empty
        return _finding(seen, replace(in_sync, goal=goal, hold=Hold(Outcome.ROLLED_BACK, held.reason)))
    if verified is not None and verified.version == pin.version:
        return _finding(seen, in_sync)
    if seen.registry_down is not None:
        return _finding(seen, replace(in_sync, retry=seen.registry_down))
    return _finding(seen, _newcomer(services, seen, in_sync, environment, pin))


def _removed(seen: Observation, slot: Slot) -> Assessment:
    """Nothing is to run without a pin. With the registry down that waits: nobody would come back for the alias."""
    verified = seen.verified.get(slot)
    empty = verified is not None and verified.version is None
    if seen.registry_down is not None and not empty:
        return Assessment(slot, None, verified, None, (), retry=seen.registry_down)
    return Assessment(slot, None, verified, Goal(slot, None, verified=empty), ())


def _newcomer(
    services: Services, seen: Observation, in_sync: Assessment, environment: Environment, pin: Pin
) -> Assessment:
    """A version that is not the verified one: gather the facts, ask policy."""
    override = pin.override.reason if pin.override and pin.override.version == pin.version else None
    try:
        fetched = services.registry.fetch(pin.model, pin.version)
        evidence = None if override else services.registry.evidence(pin.model, pin.version, environment.name)
    except Rejected as error:
        return replace(in_sync, hold=Hold(Outcome.REFUSED, str(error)))
    except Retryable as error:
        return replace(in_sync, retry=str(error))
    slot = in_sync.slot
    before = Slot(environment.after, slot.model) if environment.after else None
    hold = decide(
        PromotionRequest(
            environment=environment.name,
            model=pin.model,
            version=pin.version,
            digest=fetched.digest,
            gate=environment.gate_for(pin.model),
            override=override,
            evidence=evidence,
            here=services.journal.history(slot),
            follows=environment.after,
            there=services.journal.history(before) if before else (),
            soak_seconds=environment.soak_seconds,
            now=time.time(),
        )
    )
    if hold is not None:
        return replace(in_sync, hold=hold)
    spec = ServerSpec(slot, pin.version, fetched.digest, environment.stage, pin.port, seen.snapshot.commit)
    return replace(in_sync, goal=Goal(slot, spec, verified=False), override=override)


def _trusted(services: Services, seen: Observation, slot: Slot) -> Verified | None:
    """The last verified state. Versions that a person has sent into quarantine at this commit do not count."""
    verified = seen.verified.get(slot)
    distrusted = {q.version for q in seen.quarantined if q.slot == slot}
    if verified is None or verified.version not in distrusted:
        return verified
    return last_verified(services.journal.history(slot), distrusted)


def _incumbent(
    seen: Observation, slot: Slot, environment: Environment, pin: Pin, verified: Verified | None
) -> Goal | None:
    """What to hold on to: the last verified version or, where our record is lost, another one that had traffic."""
    if verified is not None and verified.version is not None and verified.digest is not None:
        spec = ServerSpec(slot, verified.version, verified.digest, environment.stage, pin.port, verified.revision)
        return Goal(slot, spec, verified=True)
    if verified is not None:
        return None
    others = (s for s in seen.servers if s.spec.slot == slot and s.spec.version != pin.version)
    serving = next((s for s in others if s.role is not Role.CANDIDATE), None)
    return Goal(slot, serving.spec, verified=True) if serving else None


def _where_it_was(seen: Observation, incumbent: Goal) -> Goal:
    """What is put back keeps the port at which it runs: the pinned one may be what failed."""
    spec = incumbent.spec
    for server in seen.servers:
        same = spec is not None and replace(spec, port=server.spec.port, revision=server.spec.revision) == server.spec
        if same and server.role is not Role.CANDIDATE:
            return replace(incumbent, spec=server.spec)
    return incumbent


def _finding(seen: Observation, assessment: Assessment) -> Assessment:
    if assessment.goal is None:
        return assessment
    return replace(assessment, actions=plan(assessment.goal, seen.world(assessment.slot)))
