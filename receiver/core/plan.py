"""The difference between what is wanted and what is, as an ordered list of actions. Pure.

One planner serves promotion, restoration, removal and rollback: they differ only in the goal. A goal that was
verified before gets its traffic first and the registry after; a new version gets traffic last. With an empty
plan there is nothing to do.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from receiver.core.state import USEFULNESS, RegistryView, Role, Server, ServerSpec, Slot

ARCHIVED = "Archived"


class ActionKind(StrEnum):
    """What an action does. Each has exactly one handler in ``apply.py``; the crash tests enumerate them."""

    INSTALL = "install"  # the packages that the version needs, where they are not here
    START = "start"  # a candidate comes up, without traffic
    PROVE = "prove"  # health, version, digest, smoke requests
    STAGE = "stage"  # one version's registry stage
    ALIAS = "alias"  # the environment's registry alias
    SWITCH = "switch"  # the slot's traffic
    WATCH = "watch"  # the stabilisation window, the old server still warm
    RETIRE = "retire"  # a server that is not wanted ends


@dataclass(frozen=True, slots=True)
class Action:
    """One idempotent step with the state that it found and the state that it leaves."""

    kind: ActionKind
    subject: str  # what it acts on: a version ("v6"), an alias ("production") or a server's id
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}: {self.before or '-'} -> {self.after or '-'}"


@dataclass(frozen=True, slots=True)
class EnvironmentSlot:
    """One environment's place in the registry; environments are listed lowest first."""

    environment: str
    alias: str
    stage: str | None
    # Verified there or, without such a version, its alias's; for the environments that are not being planned.
    deployed_version: int | None = None


class Purpose(StrEnum):
    """Why a slot is to be what a goal says."""

    PROMOTE = "promote"  # a version that was not verified in this slot before
    CHANGE = "change"  # the verified version, with another port or other settings beside its pin
    EMPTY = "empty"  # the pin was removed
    RESTORE = "restore"  # what was verified, where registry or servers have drifted from it
    ROLL_BACK = "roll back"  # what was verified, in place of a pinned version that is in quarantine


@dataclass(frozen=True, slots=True)
class Goal:
    """What a slot should be. ``spec`` None: nothing should run there (the pin was removed, or never worked)."""

    slot: Slot
    spec: ServerSpec | None
    purpose: Purpose
    undo: Sequence[Action] | None = None  # undo these in the registry, instead of projecting it
    missing: str = ""  # the packages that have to be installed first, for a person

    @property
    def verified(self) -> bool:
        """This state has been proven in this slot before."""
        return self.purpose in (Purpose.RESTORE, Purpose.ROLL_BACK)

    def fits(self, server: Server) -> bool:
        """The server is what is wanted; the commit that started it does not matter."""
        return self.spec is not None and replace(server.spec, revision=self.spec.revision) == self.spec


@dataclass(frozen=True, slots=True)
class World:
    """One slot as observed. ``registry`` None: unreachable or unknown there, so it is left alone."""

    servers: Sequence[Server]
    registry: RegistryView | None
    environments: Sequence[EnvironmentSlot]
    claimed: Collection[int] = ()  # versions that other environments are deployed with now: they set the stages


def plan(goal: Goal, world: World) -> tuple[Action, ...]:
    """Order the actions that turn ``world`` into ``goal``. Empty: nothing to do."""
    fit = fitting(goal, world.servers)
    live = next((s for s in world.servers if s.role is Role.LIVE), None)
    missing = fit.missing if fit is not None else ""
    switching = goal.spec is not None and (fit is None or fit.role is not Role.LIVE)
    unproven = goal.spec is not None and (switching or bool(missing) or not goal.verified)
    renewing = fit is not None and bool(fit.differs or missing)

    start = (
        [Action(ActionKind.START, _name(goal.spec), missing or None, Role.CANDIDATE)]
        if goal.spec and (fit is None or missing)
        else []
    )
    install = [Action(ActionKind.INSTALL, start[0].subject, None, goal.missing)] if start and goal.missing else []
    prove = [Action(ActionKind.PROVE, _name(goal.spec), None, "proven")] if goal.spec and unproven else []
    registry = list(registry_actions(goal, world) if goal.undo is None else undo_actions(goal.undo, world))
    switch = (
        [Action(ActionKind.SWITCH, goal.slot.model, _traffic(live), _described(goal.spec, live))]
        if goal.spec and (switching or renewing)
        else []
    )
    watch = [Action(ActionKind.WATCH, _name(goal.spec), None, "stable")] if goal.spec and unproven else []
    retire = [
        Action(ActionKind.RETIRE, s.id, f"{_name(s.spec)} {s.role}", None) for s in world.servers if s is not fit
    ]

    if goal.verified:
        return tuple(install + start + prove + switch + registry + watch + retire)
    return tuple(install + start + prove + registry + switch + watch + retire)


def fitting(goal: Goal, servers: Sequence[Server]) -> Server | None:
    """The server that is what the goal wants, the one with traffic first; None where there is none."""
    return min(filter(goal.fits, servers), key=lambda server: USEFULNESS.index(server.role), default=None)


def registry_actions(goal: Goal, world: World) -> Sequence[Action]:
    """Bring the alias (authoritative) and the stages (projected from what all environments hold) in line.

    ``current_stage`` is one column per version, so a version's stage is that of the highest environment that holds
    it, and a version that no environment holds any more is archived, by number. The new version
    gets its stage before the old one is archived: at no moment does the environment have no version.
    """
    view = world.registry
    if view is None:
        return ()
    stage_by_version: dict[int, str] = {}
    own_version = goal.spec.version if goal.spec else None
    for environment_slot in world.environments:
        own = environment_slot.environment == goal.slot.environment
        deployed_version = own_version if own else environment_slot.deployed_version
        if deployed_version is not None and environment_slot.stage is not None:
            stage_by_version[deployed_version] = environment_slot.stage
    ours = {environment_slot.stage for environment_slot in world.environments if environment_slot.stage is not None}
    raised = [
        Action(ActionKind.STAGE, f"v{version}", view.stages.get(version), stage)
        for version, stage in sorted(stage_by_version.items())
        if view.stages.get(version) != stage and (version == own_version or version not in world.claimed)
    ]
    archived = [
        Action(ActionKind.STAGE, f"v{version}", stage, ARCHIVED)
        for version, stage in sorted(view.stages.items())
        if stage in ours and version not in stage_by_version and version not in world.claimed
    ]
    return [*raised, *_alias_action(goal, view.aliases, world.environments), *archived]


def undo_actions(done: Iterable[Action], world: World) -> Sequence[Action]:
    """Bring what ``done`` (oldest first) touched in the registry back to how it was found at first.

    For a slot that never had a verified state: its alias and stages belong to whoever set them before us, and what
    somebody has set since is left alone, such as the stage of the same version in another environment.
    """
    view = world.registry
    if view is None:
        return ()
    found: dict[tuple[ActionKind, str], str | None] = {}
    left: set[tuple[ActionKind, str, str | None]] = set()
    for action in done:
        if action.kind in (ActionKind.STAGE, ActionKind.ALIAS):
            found.setdefault((action.kind, action.subject), action.before)
            left.add((action.kind, action.subject, action.after))
    actions = []
    for (kind, subject), before in reversed(found.items()):
        if kind is ActionKind.STAGE:
            now = view.stages.get(int(subject.removeprefix("v")))
        else:
            now = _named(view.aliases.get(subject))
        if now != before and (kind, subject, now) in left:
            actions.append(Action(kind, subject, now, before))
    return actions


def _alias_action(
    goal: Goal, aliases: Mapping[str, int], environments: Sequence[EnvironmentSlot]
) -> Sequence[Action]:
    alias = next((r.alias for r in environments if r.environment == goal.slot.environment), None)
    if alias is None:
        return ()
    have, want = aliases.get(alias), goal.spec.version if goal.spec else None
    if have == want:
        return ()
    return [Action(ActionKind.ALIAS, alias, _named(have), _named(want))]


def _named(version: int | None) -> str | None:
    return None if version is None else f"v{version}"


def _traffic(live: Server | None) -> str | None:
    if live is None:
        return None
    remark = live.differs or live.missing
    return f"{_name(live.spec)} ({remark})" if remark else _name(live.spec)


def _described(spec: ServerSpec, live: Server | None) -> str:
    """The version, and what beside its pin is not as it was: ``v6, replicas 1 -> 3``."""
    several = f"{spec.replicas} replicas" if spec.replicas > 1 else ""
    changes = spec.changes_from(live.spec) if live is not None else several
    return ", ".join(filter(None, [_name(spec), changes]))


def _name(spec: ServerSpec) -> str:
    return f"v{spec.version}"
