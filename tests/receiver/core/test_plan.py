"""The planner's rules, checked against a small pure model of registry and servers."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from receiver.core.plan import Action, ActionKind, EnvironmentSlot, Goal, Purpose, World, fitting, plan
from receiver.core.state import RegistryView, Role, Server, ServerSpec, Slot

STAGING = EnvironmentSlot("staging", "staging", "Staging")
PRODUCTION = EnvironmentSlot("production", "production", "Production")
ENVIRONMENTS = (STAGING, PRODUCTION)
SLOT = Slot("production", "churn-model")


def spec(version: int, port: int = 8001, slot: Slot = SLOT) -> ServerSpec:
    return ServerSpec(slot, version, f"sha256:{version}", slot.environment.title(), port, "c0ffee")


def server(version: int, role: Role, port: int = 8001) -> Server:
    return Server(f"s{version}-{port}-{role}", spec(version, port), role, ("http://127.0.0.1:1",))


def seen(
    servers: Sequence[Server], view: RegistryView | None, environments: Sequence[EnvironmentSlot] = ENVIRONMENTS
) -> World:
    """A world in which every environment holds what its alias says."""
    held = [replace(r, deployed_version=view.aliases.get(r.alias) if view else None) for r in environments]
    return World(servers, view, held)


def registry(aliases: dict[str, int], stages: dict[int, str]) -> RegistryView:
    return RegistryView("churn-model", aliases, stages, {})


def several(version: int, replicas: int, up: int, role: Role = Role.LIVE) -> Server:
    wanted = replace(spec(version), replicas=replicas)
    return Server(f"s{version}", wanted, role, tuple(f"http://127.0.0.1:{number}" for number in range(up)))


def test_a_replica_that_is_missing_is_started_proven_and_given_traffic_and_nobody_retires() -> None:
    wanted = Goal(SLOT, replace(spec(5), replicas=3), Purpose.RESTORE)
    world = seen([several(5, 3, 2)], registry({"production": 5}, {5: "Production"}))
    assert [str(action) for action in plan(wanted, world)] == [
        "start v5: 2 of 3 replicas -> candidate",
        "prove v5: - -> proven",
        "switch churn-model: v5 (2 of 3 replicas) -> v5",
        "watch v5: - -> stable",
    ]
    assert plan(wanted, seen([several(5, 3, 3)], registry({"production": 5}, {5: "Production"}))) == ()


def test_a_first_version_says_how_many_replicas_it_has() -> None:
    wanted = Goal(SLOT, replace(spec(5), replicas=3), Purpose.PROMOTE)
    assert "switch churn-model: - -> v5, 3 replicas" in [str(action) for action in plan(wanted, seen([], None))]


def test_another_number_of_replicas_is_a_swap_and_the_plan_names_it() -> None:
    wanted = Goal(SLOT, replace(spec(5), replicas=3), Purpose.CHANGE)
    world = seen([server(5, Role.LIVE)], registry({"production": 5}, {5: "Production"}))
    assert [str(action) for action in plan(wanted, world)] == [
        "start v5: - -> candidate",
        "prove v5: - -> proven",
        "switch churn-model: v5 -> v5, replicas 1 -> 3",
        "watch v5: - -> stable",
        "retire s5-8001-live: v5 live -> -",
    ]


def goal(version: int, *, verified: bool = False) -> Goal:
    return Goal(SLOT, spec(version), Purpose.RESTORE if verified else Purpose.PROMOTE)


def perform(world: World, wanted: Goal, action: Action) -> World:
    """What the real handlers do, on plain data."""
    servers, view = list(world.servers), world.registry
    match action.kind:
        case ActionKind.START:
            assert wanted.spec is not None
            servers.append(Server(f"new{wanted.spec.version}", wanted.spec, Role.CANDIDATE, ("http://127.0.0.1:2",)))
        case ActionKind.SWITCH:
            chosen = fitting(wanted, servers)
            servers = [
                replace(s, role=Role.LIVE if s is chosen else Role.STANDBY if s.role is Role.LIVE else s.role)
                for s in servers
            ]
        case ActionKind.RETIRE:
            servers = [s for s in servers if s.id != action.subject]
        case ActionKind.STAGE:
            assert view is not None
            version = int(action.subject[1:])
            assert view.stages.get(version) == action.before
            rest = {v: s for v, s in view.stages.items() if v != version}
            view = replace(view, stages=rest | ({version: action.after} if action.after else {}))
        case ActionKind.ALIAS:
            assert view is not None
            rest = {a: v for a, v in view.aliases.items() if a != action.subject}
            view = replace(view, aliases=rest | ({action.subject: int(action.after[1:])} if action.after else {}))
        case ActionKind.PROVE | ActionKind.WATCH | ActionKind.INSTALL:
            pass
    return replace(world, servers=servers, registry=view)


def kinds(actions: tuple[Action, ...]) -> list[ActionKind]:
    return [action.kind for action in actions]


def live(world: World) -> list[int]:
    return [s.spec.version for s in world.servers if s.role is Role.LIVE]


versions = st.integers(1, 5)
views = st.builds(
    registry,
    st.dictionaries(st.sampled_from(["staging", "production", "mine"]), versions),
    st.dictionaries(versions, st.sampled_from(["Staging", "Production", "Archived"])),
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    roles = draw(st.lists(st.sampled_from([Role.STANDBY, Role.CANDIDATE]), max_size=3))
    servers = [server(draw(versions), role) for role in roles]
    if draw(st.booleans()):
        servers.append(server(draw(versions), Role.LIVE, draw(st.sampled_from([8001, 8002]))))
    unique = {s.id: s for s in servers}
    return seen(list(unique.values()), draw(st.none() | views))


goals = st.builds(goal, versions, verified=st.booleans()) | st.just(Goal(SLOT, None, Purpose.RESTORE))


@given(worlds(), goals)
def test_after_the_plan_there_is_nothing_left_to_plan(world: World, wanted: Goal) -> None:
    for action in plan(wanted, world):
        world = perform(world, wanted, action)
    assert plan(replace(wanted, purpose=Purpose.RESTORE), world) == ()


@given(worlds(), goals, st.integers(0, 12))
def test_a_plan_cut_off_anywhere_is_finished_by_the_next_one(world: World, wanted: Goal, cut: int) -> None:
    for action in plan(wanted, world)[:cut]:
        world = perform(world, wanted, action)
    for action in plan(wanted, world):
        world = perform(world, wanted, action)
    assert plan(replace(wanted, purpose=Purpose.RESTORE), world) == ()
    assert live(world) == ([wanted.spec.version] if wanted.spec else [])


@given(worlds(), versions, st.booleans())
def test_somebody_has_the_traffic_at_every_moment_of_a_swap(world: World, version: int, verified: bool) -> None:
    wanted = goal(version, verified=verified)
    had_traffic = bool(live(world))
    for action in plan(wanted, world):
        world = perform(world, wanted, action)
        assert len(live(world)) == 1 or not had_traffic or action.kind is ActionKind.RETIRE
        assert not had_traffic or live(world)


@given(worlds(), goals)
def test_no_stage_is_held_twice_once_the_plan_is_done(world: World, wanted: Goal) -> None:
    for action in plan(wanted, world):
        world = perform(world, wanted, action)
    if world.registry is not None:
        holders = list(world.registry.stages.values())
        assert holders.count("Production") <= 1
        assert holders.count("Staging") <= 1


@given(views)
def test_aliases_that_are_not_ours_are_left_alone(view: RegistryView) -> None:
    actions = plan(goal(1), seen((), view))
    assert {a.subject for a in actions if a.kind is ActionKind.ALIAS} <= {"production"}


def test_a_promotion_proves_then_registers_then_switches_then_watches_then_retires() -> None:
    world = seen(
        [server(4, Role.LIVE)],
        registry({"production": 4, "staging": 6}, {4: "Production", 6: "Staging"}),
        ENVIRONMENTS,
    )
    actions = plan(goal(6), world)
    assert [str(a) for a in actions] == [
        "start v6: - -> candidate",
        "prove v6: - -> proven",
        "stage v6: Staging -> Production",
        "alias production: v4 -> v6",
        "stage v4: Production -> Archived",
        "switch churn-model: v4 -> v6",
        "watch v6: - -> stable",
        "retire s4-8001-live: v4 live -> -",
    ]


def test_a_rollback_gives_traffic_to_the_warm_server_before_it_touches_the_registry() -> None:
    world = seen(
        [server(6, Role.LIVE), server(4, Role.STANDBY)],
        registry({"production": 6, "staging": 6}, {4: "Archived", 6: "Production"}),
        ENVIRONMENTS,
    )
    order = kinds(plan(goal(4, verified=True), world))
    assert ActionKind.START not in order
    assert order.index(ActionKind.SWITCH) < order.index(ActionKind.STAGE)
    assert order.index(ActionKind.SWITCH) < order.index(ActionKind.ALIAS)


def test_a_version_in_both_environments_is_in_production_and_nothing_flaps() -> None:
    view = registry({"production": 5, "staging": 5}, {5: "Production"})
    assert plan(goal(5, verified=True), seen([server(5, Role.LIVE)], view)) == ()
    staging = Slot("staging", "churn-model")
    below = Goal(staging, spec(5, 8000, staging), Purpose.RESTORE)
    there = Server("st", spec(5, 8000, staging), Role.LIVE, ("",))
    assert plan(below, seen([there], view)) == ()


def test_two_versions_in_production_by_hand_leave_only_the_pinned_one() -> None:
    view = registry({"production": 5}, {5: "Production", 3: "Production"})
    actions = plan(goal(5, verified=True), seen([server(5, Role.LIVE)], view))
    assert [str(a) for a in actions] == ["stage v3: Production -> Archived"]


def test_an_alias_moved_by_hand_is_named_and_moved_back() -> None:
    view = registry({"production": 9}, {5: "Production"})
    actions = plan(goal(5, verified=True), seen([server(5, Role.LIVE)], view))
    assert [str(a) for a in actions] == ["alias production: v9 -> v5"]


def test_a_live_server_that_was_never_verified_is_proven_and_watched_not_restarted() -> None:
    view = registry({"production": 6}, {6: "Production"})
    world = seen([server(6, Role.LIVE), server(4, Role.STANDBY)], view)
    assert kinds(plan(goal(6), world)) == [ActionKind.PROVE, ActionKind.WATCH, ActionKind.RETIRE]


def test_a_changed_port_is_a_swap_of_the_same_version() -> None:
    view = registry({"production": 6}, {6: "Production"})
    world = seen([server(6, Role.LIVE, port=8002)], view)
    assert kinds(plan(goal(6, verified=True), world)) == [
        ActionKind.START,
        ActionKind.PROVE,
        ActionKind.SWITCH,
        ActionKind.WATCH,
        ActionKind.RETIRE,
    ]


def test_a_removed_pin_gives_up_alias_and_stage_and_ends_the_server() -> None:
    view = registry({"production": 6, "staging": 6}, {6: "Production"})
    actions = plan(Goal(SLOT, None, Purpose.EMPTY), seen([server(6, Role.LIVE)], view))
    assert [str(a) for a in actions] == [
        "stage v6: Production -> Staging",
        "alias production: v6 -> -",
        "retire s6-8001-live: v6 live -> -",
    ]


def test_with_the_registry_down_servers_are_healed_and_the_registry_is_left_alone() -> None:
    assert kinds(plan(goal(5, verified=True), seen((), None))) == [
        ActionKind.START,
        ActionKind.PROVE,
        ActionKind.SWITCH,
        ActionKind.WATCH,
    ]


def test_a_slot_that_never_worked_gets_its_registry_back_as_it_was_found() -> None:
    before = seen([], registry({"production": 3}, {3: "Production"}))
    wanted, done, world = goal(6), [], before
    for action in plan(wanted, before)[:6]:
        done.append(action)
        world = perform(world, wanted, action)
    undo = Goal(SLOT, None, Purpose.RESTORE, undo=done)
    for action in plan(undo, world):
        world = perform(world, undo, action)
    assert world == before
    assert plan(undo, world) == ()


def test_what_somebody_set_after_us_is_not_taken_back() -> None:
    done = [Action(ActionKind.STAGE, "v6", None, "Staging"), Action(ActionKind.ALIAS, "staging", None, "v6")]
    undo = Goal(SLOT, None, Purpose.RESTORE, undo=done)
    since = seen([], registry({"staging": 6}, {6: "Production"}))
    assert [str(a) for a in plan(undo, since)] == ["alias staging: v6 -> -"]


def test_the_same_bytes_on_the_same_port_in_another_slot_are_another_server() -> None:
    renamed = Slot("production", "retention-model")
    wanted = Goal(renamed, replace(spec(6), slot=renamed), Purpose.PROMOTE)
    assert fitting(wanted, [server(6, Role.LIVE)]) is None


def test_an_environment_without_a_stage_moves_only_its_alias() -> None:
    environments = (replace(PRODUCTION, stage=None),)
    wanted = Goal(SLOT, replace(spec(6), stage=None), Purpose.PROMOTE)
    actions = plan(wanted, seen((), registry({}, {6: "Staging"}), environments))
    assert ActionKind.STAGE not in kinds(actions)
    assert ActionKind.ALIAS in kinds(actions)
