"""Deciding without changing anything: from one observation, what is to be done about each slot, and why not more.

Nothing outside this machine is asked here: what the registry says stands in the observation.
``reconcile.py`` acts on this; ``pinrail plan``, ``pinrail status`` and the dashboard show it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ml.environment.file import Environment, Pin
from receiver.core.deployment import Deployment, Outcome, Verified, last_verified
from receiver.core.errors import Rejected
from receiver.core.plan import Action, ActionKind, Goal, Purpose, plan
from receiver.core.policy import Hold, HoldState, PromotionRequest, decide
from receiver.core.quarantine import Quarantine
from receiver.core.state import RegisteredVersion, Role, ServerSpec, Slot
from receiver.planning.observe import Observation
from receiver.services import Services

# A version whose bytes are not the ones that the gate measured is downloaded again this often: somebody who changed
# the artifacts in the registry's store may have restored them, and no call to the registry would show it.
REFETCH_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is to be done about one slot, and what holds it back."""

    slot: Slot
    pinned: int | None
    verified: Verified | None
    goal: Goal | None  # None: nothing is to be changed
    actions: Sequence[Action]
    hold: Hold | None = None  # why the pinned version is not the goal
    override: str | None = None
    retry: str | None = None  # why this assessment is provisional: something could not be read
    unfetched: str | None = None  # what has to be downloaded before the version can be judged: see fetch.py

    @property
    def drift(self) -> bool:
        """The goal was verified before, and registry or servers have changed since."""
        return self.goal is not None and self.goal.purpose is Purpose.RESTORE

    @property
    def restores(self) -> bool:
        """What was verified has to be brought back."""
        return bool(self.actions) and self.goal is not None and self.goal.verified

    @property
    def in_sync(self) -> bool:
        """Nothing is to be done or recorded; that a slot without a pin is empty is recorded once."""
        return not self.actions and (self.goal is None or self.goal.verified)


def assess(services: Services, seen: Observation, slot: Slot) -> Assessment:
    """Decide one slot's goal, and plan the actions that reach it. Never waits for the network."""
    environment, pin = seen.pin(slot)
    verified = seen.verified.get(slot)
    if pin is None or environment is None:
        return _with_plan(seen, _removed(seen, slot))
    to_keep = _version_to_keep(seen, slot, environment, pin, _trusted(services, seen, slot))
    refusal = services.target.refusal(to_keep.spec) if to_keep and to_keep.spec else ""
    if refusal and to_keep and to_keep.spec:  # what was verified comes back all the same
        to_keep = replace(to_keep, spec=replace(to_keep.spec, cpus=0.0, memory_mb=0))
    in_sync = Assessment(slot, pin.version, verified, to_keep, ())
    held = next((q for q in seen.held(slot) if q.needs_human or q.version == pin.version), None)
    if held is not None:
        return _held(services, seen, in_sync, held)
    frozen = _frozen(seen, slot)
    if verified is not None and verified.version == pin.version:
        refused = Hold(HoldState.REFUSED, refusal) if refusal else None
        found = _same_version(seen, in_sync, frozen or refused)
        found = found if found.hold is not None else replace(found, hold=refused)
    else:  # what is pinned beside another version is for that one
        as_it_runs = replace(in_sync, goal=_as_it_runs(seen, to_keep))
        found = _other_version(services, seen, as_it_runs, frozen)
    return _with_plan(seen, found)


def _same_version(seen: Observation, in_sync: Assessment, frozen: Hold | None) -> Assessment:
    """What is pinned serves, unless it is down; its port or its settings may have been changed beside the pin."""
    spec, live = in_sync.goal.spec if in_sync.goal else None, _like(seen, in_sync.goal, Role.LIVE)
    if in_sync.goal is None or spec is None:
        return in_sync
    if live is not None and live.with_settings_of(spec) == live:
        return in_sync
    if live is not None and frozen is None:
        return replace(in_sync, goal=replace(in_sync.goal, purpose=Purpose.CHANGE))
    return replace(in_sync, goal=_as_it_runs(seen, in_sync.goal), hold=None if live is None else frozen)


def _other_version(services: Services, seen: Observation, in_sync: Assessment, frozen: Hold | None) -> Assessment:
    environment, pin = seen.pin(in_sync.slot)
    if environment is None or pin is None or _is_down(services, seen, in_sync.slot, in_sync.goal):
        return in_sync
    if seen.registry_down is not None:
        return replace(in_sync, hold=frozen, retry=None if frozen is not None else seen.registry_down)
    try:
        found = _new_version(services, seen, in_sync, environment, pin)
    except Rejected as error:
        return replace(in_sync, hold=Hold(HoldState.REFUSED, str(error)))
    if frozen is None or (found.hold is not None and found.hold.state is HoldState.REFUSED):
        return found  # what policy refuses is refused, whoever holds the slot
    return replace(in_sync, hold=frozen, unfetched=found.unfetched)


def _removed(seen: Observation, slot: Slot) -> Assessment:
    """Empty a slot without a pin. That waits for the registry: later, nothing would remove the alias."""
    verified = seen.verified.get(slot)
    empty = verified is not None and verified.version is None
    if seen.registry_down is not None and not empty:
        return Assessment(slot, None, verified, None, (), retry=seen.registry_down)
    frozen = _frozen(seen, slot)
    if frozen is not None and not empty:
        return Assessment(slot, None, verified, None, (), hold=frozen)
    return Assessment(slot, None, verified, Goal(slot, None, Purpose.RESTORE if empty else Purpose.EMPTY), ())


def _held(services: Services, seen: Observation, in_sync: Assessment, held: Quarantine) -> Assessment:
    """Roll back what is in quarantine; where a person is needed, touch nothing."""
    if held.needs_human:
        return replace(in_sync, goal=None, hold=Hold(HoldState.NEEDS_HUMAN, held.reason))
    if in_sync.goal is not None:
        goal = _rolling_back_to(seen, in_sync.goal)
    else:
        goal = Goal(in_sync.slot, None, Purpose.ROLL_BACK, undo=services.journal.touched(in_sync.slot))
    return _with_plan(seen, replace(in_sync, goal=goal, hold=Hold(HoldState.QUARANTINED, held.reason)))


def _frozen(seen: Observation, slot: Slot) -> Hold | None:
    """A person lets nothing new be deployed here."""
    freeze = seen.freeze(slot)
    return Hold(HoldState.HELD, freeze.reason) if freeze is not None else None


def _new_version(
    services: Services, seen: Observation, in_sync: Assessment, environment: Environment, pin: Pin
) -> Assessment:
    """Ask policy about a version that is not the verified one. Rejected: it can't be judged or served."""
    override = override_of(pin)
    slot, history = in_sync.slot, services.journal.history(in_sync.slot)
    found = _registered(seen, pin)
    if found is None:
        return replace(in_sync, retry=f"the registry has not been asked about {pin.model} v{pin.version} yet")
    resolved = services.registry.resolve(found, None if override else environment.name)
    if resolved is None:
        return replace(
            in_sync, hold=_refused_before(history, pin.version), unfetched="its artifacts are not here yet"
        )
    if resolved.unread:
        return replace(in_sync, unfetched="its evidence has not been read yet")
    evidence, digest, now = resolved.evidence, resolved.version.digest, time.time()
    before = Slot(environment.after, slot.model) if environment.after else None
    hold = decide(
        PromotionRequest(
            environment=environment.name,
            model=pin.model,
            version=pin.version,
            digest=digest,
            registered=found.created,
            gate=environment.gate_for(pin.model),
            override=override,
            evidence=evidence,
            unconfined=services.unconfined() if environment.needs_isolation else "",
            trusted=services.trusted(environment),
            here=history,
            follows=environment.after,
            there=services.journal.history(before) if before else (),
            soak_seconds=environment.soak_seconds,
            now=now,
            there_live=before is None or _is_live(seen, before, pin.version),
            taken_out=services.journal.taken_out(before, pin.version) if before else None,
        )
    )
    if hold is not None:
        differs = evidence is not None and evidence.model_digest != digest
        old = abs(now - resolved.version.fetched_at) > REFETCH_SECONDS  # either way: clocks are set back too
        return replace(
            in_sync, hold=hold, unfetched="its artifacts may have been restored" if differs and old else None
        )
    spec = _spec(environment, pin, digest, seen.snapshot.commit)
    services.prober.require_example(spec, resolved.version.path)
    missing = _packages_to_install(services, spec, locked=environment.locked_packages)
    return replace(in_sync, goal=Goal(slot, spec, Purpose.PROMOTE, missing=missing), override=override)


def _packages_to_install(services: Services, spec: ServerSpec, *, locked: bool) -> str:
    """What the version needs beside what is here. Rejected: it can't be loaded, or it may bring no packages."""
    if refusal := services.target.refusal(spec):
        raise Rejected(refusal)
    needed = services.target.unverified_packages(spec) if locked else ""
    missing = services.target.missing_packages(spec)
    if needed:
        raise Rejected(
            f"{spec.slot} v{spec.version} needs packages that Pinrail does not have ({needed}), and policy.packages "
            f"is locked: register it with an ONNX twin, with the versions that are here, or with hashes for all "
            f"of them"
        )
    return missing


def _is_live(seen: Observation, slot: Slot, version: int) -> bool:
    live = (s.spec for s in seen.servers if s.role is Role.LIVE)
    return any(spec.slot == slot and spec.version == version for spec in live)


def _registered(seen: Observation, pin: Pin) -> RegisteredVersion | None:
    """How the registry describes the pinned version; None: it was not asked. Rejected: there is no such version."""
    if pin.model not in seen.registry:
        return None
    view = seen.registry[pin.model]
    if view is None:
        raise Rejected(f"the registry has no model {pin.model}: register it, or correct the pin")
    if pin.version not in view.versions:
        return None
    found = view.versions[pin.version]
    if found is None:
        newest = f"; its newest is v{view.newest}" if view.newest is not None else ""
        raise Rejected(
            f"{pin.model} has no version {pin.version} in the registry{newest}: register it, or correct the pin"
        )
    return found


def override_of(pin: Pin) -> str | None:
    """The reason to let exactly the pinned version in without gate and soak; None: they apply."""
    return pin.override.reason if pin.override and pin.override.version == pin.version else None


def _spec(environment: Environment, pin: Pin, digest: str, revision: str) -> ServerSpec:
    """What a server of the pinned version is started with."""
    log = environment.log_for(pin.model)
    return ServerSpec(
        Slot(environment.name, pin.model),
        pin.version,
        digest,
        environment.stage,
        pin.port,
        revision,
        egress=pin.egress,
        log="" if log is None else log.settings.to_json(),
        replicas=pin.replicas,
        cpus=pin.resources.cpus,
        memory_mb=pin.resources.memory_mb,
    )


def _refused_before(history: Sequence[Deployment], version: int) -> Hold | None:
    """How the last attempt to fetch the version ended, such as that its artifacts are missing."""
    last = history[-1] if history else None
    refused = last is not None and (last.state, last.draft.to_version) == (Outcome.REFUSED, version)
    return (
        Hold(HoldState.REFUSED, f"when it was last fetched: {last.reason}") if last is not None and refused else None
    )


def _trusted(services: Services, seen: Observation, slot: Slot) -> Verified | None:
    """The last verified state, without versions that are in quarantine."""
    verified = seen.verified.get(slot)
    distrusted = {q.version for q in seen.held(slot)}
    if verified is None or verified.version not in distrusted:
        return verified
    return last_verified(services.journal.history(slot), distrusted)


def _version_to_keep(
    seen: Observation, slot: Slot, environment: Environment, pin: Pin, verified: Verified | None
) -> Goal | None:
    """The version to keep: the last verified one or, without a record of it, another one that has traffic."""
    if verified is not None and verified.version is not None and verified.digest is not None:
        spec = _spec(environment, pin, verified.digest, verified.revision)
        return Goal(slot, replace(spec, version=verified.version), Purpose.RESTORE)
    if verified is not None:
        return None
    others = (s for s in seen.servers if s.spec.slot == slot and s.spec.version != pin.version)
    serving = next((s for s in others if s.role is not Role.CANDIDATE), None)
    return Goal(slot, serving.spec, Purpose.RESTORE) if serving else None


def _like(seen: Observation, goal: Goal | None, role: Role) -> ServerSpec | None:
    """The spec of a server of the slot that serves what the goal wants, perhaps with other settings."""
    wanted = goal.spec if goal is not None else None
    if wanted is None:
        return None
    same = wanted.slot, wanted.version, wanted.digest
    found = (s.spec for s in seen.servers if s.role is role)
    return next((spec for spec in found if (spec.slot, spec.version, spec.digest) == same), None)


def _has_moved_in(seen: Observation, slot: Slot, port: int) -> bool:
    """Another slot has this port now."""
    return any(s.role is Role.LIVE and s.spec.port == port and s.spec.slot != slot for s in seen.servers)


def _as_it_runs(seen: Observation, to_keep: Goal | None) -> Goal | None:
    """The goal with the port and the settings that its server has now; where it is down, that who stands by has."""
    if to_keep is None or to_keep.spec is None:
        return to_keep
    slot, like = to_keep.slot, _like(seen, to_keep, Role.LIVE)
    if like is None and not any(s.spec.slot == slot and s.role is Role.LIVE for s in seen.servers):
        like = _like(seen, to_keep, Role.STANDBY)
        like = None if like is None or _has_moved_in(seen, slot, like.port) else like
    if like is None:
        return _where_it_served(seen, to_keep, to_keep.spec)
    return replace(to_keep, spec=to_keep.spec.with_settings_of(like))


def _where_it_served(seen: Observation, to_keep: Goal, spec: ServerSpec) -> Goal:
    """The goal on the port where it was verified, while another slot has the pinned one: callers are there still."""
    verified = seen.verified.get(spec.slot)
    port = verified.port if verified is not None else None
    if port is None or _has_moved_in(seen, spec.slot, port) or not _has_moved_in(seen, spec.slot, spec.port):
        return to_keep
    return replace(to_keep, spec=replace(spec, port=port))


def _is_down(services: Services, seen: Observation, slot: Slot, to_keep: Goal | None) -> bool:
    """Nobody has the slot's traffic: first what served comes back, then what is pinned is judged and proven.

    Unless that was tried and failed: then what is pinned may be the way out.
    """
    if to_keep is None or any(s.spec.slot == slot and s.role is Role.LIVE for s in seen.servers):
        return False
    history = services.journal.history(slot)
    return bool(history) and history[-1].state is not Outcome.NEEDS_HUMAN


def _rolling_back_to(seen: Observation, to_keep: Goal) -> Goal:
    """A rollback keeps the port and the settings of the running server: the pinned ones may be what failed."""
    spec = to_keep.spec
    for server in seen.servers:
        like = spec.with_settings_of(server.spec) if spec is not None else None
        same = like is not None and replace(like, revision=server.spec.revision) == server.spec
        left = server.role is Role.CANDIDATE or _has_moved_in(seen, to_keep.slot, server.spec.port)
        if same and not left:
            spec = server.spec
            break
    return replace(to_keep, spec=spec, purpose=Purpose.ROLL_BACK)


def _with_plan(seen: Observation, assessment: Assessment) -> Assessment:
    goal = assessment.goal
    if goal is None:
        return assessment
    actions = plan(goal, seen.world(assessment.slot))
    return replace(assessment, actions=[_with_port(seen, goal, action) for action in actions])


def _with_port(seen: Observation, goal: Goal, action: Action) -> Action:
    if action.kind is not ActionKind.SWITCH or goal.spec is None:
        return action
    return replace(action, after=f"{action.after}{seen.words_of_port(goal.slot, goal.spec.port)}")
