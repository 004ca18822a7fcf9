"""Several replicas of one slot, through the flow: their number is a setting beside the pin, and one may be lost."""

from pathlib import Path

import pytest

from receiver.core.deployment import Outcome
from receiver.core.plan import ActionKind
from receiver.core.policy import HoldState
from receiver.core.state import Role, Server
from receiver.planning.observe import observe_head
from receiver.planning.status import status_report
from tests.support.flow import Flow
from tests.support.running_controller import running
from tests.support.waiting import eventually


@pytest.fixture(params=[True, False], ids=["heals", "does not heal"])
def flow(request: pytest.FixtureRequest, tmp_path: Path) -> Flow:
    """Version 1 is live in both environments."""
    found = Flow(tmp_path, heal=request.param)
    found.register(1, 2)
    found.pin(staging=1, production=1)
    found.run()
    assert found.serving() == {"staging": 1, "production": 1}
    return found


def scale(flow: Flow, staging: int, version: int = 1) -> str:
    """Merge a commit that changes only the number of replicas in staging."""
    files = flow.files(version, 1)
    path = "environments/staging.yaml"
    return flow.source.commit(
        {**files, path: files[path].replace(b"port: 8000", b"port: 8000, replicas: %d" % staging)}
    )


def live(flow: Flow) -> Server:
    (server,) = (s for s in flow.target.observe() if s.role is Role.LIVE and s.spec.slot.environment == "staging")
    return server


def test_another_number_is_deployed_and_recorded_without_a_gate_also_with_healing_off(flow: Flow) -> None:
    flow.record(1, passing=False)
    commit = scale(flow, 3)
    report = flow.run()
    assert (live(flow).spec.replicas, len(live(flow).urls)) == (3, 3)
    last = flow.journal.recent()[0]
    assert (last.state, last.draft.revision, last.draft.cause.detail) == (Outcome.LIVE, commit, "push")
    assert "switch churn-model: v1 -> v1, replicas 1 -> 3" in [str(action) for action in last.draft.plan]
    assert [server.spec.slot.environment for server in flow.target.observe()].count("staging") == 1
    assert not report.drift
    assert not flow.run().outcomes, "nothing is left to do"


def test_a_version_that_fails_with_more_replicas_goes_back_to_the_warm_server_as_it_was(flow: Flow) -> None:
    before = live(flow)
    flow.prober.failing_smoke.add(2)
    scale(flow, 3, version=2)
    flow.run()
    assert (live(flow).id, live(flow).spec.replicas) == (before.id, 1)
    assert not flow.run().outcomes
    scale(flow, 2, version=2)
    flow.prober.failing_smoke.clear()
    flow.run()
    assert (live(flow).spec.version, live(flow).spec.replicas) == (2, 2), "what is pinned was changed"


def test_one_that_is_lost_is_started_again_beside_the_others(tmp_path: Path) -> None:
    flow = Flow(tmp_path)
    flow.register(1)
    scale(flow, 2)
    flow.run()
    server = live(flow)
    flow.target.lose_replica(server)
    report = status_report(flow.services, observe_head(flow.services))
    (row,) = (row for row in report.slots if row.environment == "staging")
    assert (row.serving_version, row.replicas_said, row.state) == (1, "1 of 2 replicas", "drift")
    flow.run("timer")
    assert (live(flow).id, live(flow).missing) == (server.id, "")
    last = flow.journal.recent()[0]
    assert str(last.draft.cause) == "drift"
    assert ActionKind.RETIRE not in {action.kind for action in last.draft.plan}


def test_with_healing_off_a_lost_one_is_reported_and_left_alone(tmp_path: Path) -> None:
    flow = Flow(tmp_path, heal=False)
    flow.register(1)
    scale(flow, 2)
    flow.run()
    flow.target.lose_replica(live(flow))
    assert any("start v1: 1 of 2 replicas" in line for line in flow.run("timer").drift)
    assert live(flow).missing == "1 of 2 replicas"


def limits(flow: Flow, version: int = 1) -> None:
    files = flow.files(version, 1)
    path = "environments/staging.yaml"
    limited = files[path].replace(b"port: 8000", b"port: 8000, resources: {cpus: 1, memory: 1g}")
    flow.source.commit({**files, path: limited})


def test_limits_are_a_deployment_that_the_plan_names(flow: Flow) -> None:
    limits(flow)
    flow.run()
    assert (live(flow).spec.cpus, live(flow).spec.memory_mb) == (1.0, 1024)
    said = "switch churn-model: v1 -> v1, cpus default -> 1, memory default -> 1024m"
    assert said in [str(action) for action in flow.journal.recent()[0].draft.plan]


@pytest.mark.parametrize("version", [1, 2])
def test_where_no_limits_can_be_set_the_pin_is_refused_and_what_serves_goes_on(tmp_path: Path, version: int) -> None:
    flow = Flow(tmp_path)
    flow.register(1, 2)
    flow.pin(staging=1, production=1)
    flow.run()
    before = live(flow)
    flow.target.no_limits = "the receiver may not set limits on this machine"
    limits(flow, version)
    (found,) = (a for a in flow.run().assessments if a.slot.environment == "staging")
    assert found.hold is not None
    assert (found.hold.state, found.hold.reason) == (HoldState.REFUSED, flow.target.no_limits)
    assert live(flow) == before
    flow.target.die(before)
    flow.run("timer")
    assert (live(flow).spec.version, live(flow).spec.limited) == (1, False), "it comes back all the same"


def test_how_a_server_ended_is_recorded_with_its_restoration(tmp_path: Path) -> None:
    flow = Flow(tmp_path)
    flow.register(1)
    scale(flow, 2)
    flow.run()
    slot = live(flow).spec.slot
    flow.target.lose_replica(live(flow))
    flow.target.ends[slot] = "fake-1 was ended by SIGKILL: out of memory"
    with running(flow):
        eventually(lambda: live(flow).missing == "")
        eventually(lambda: flow.journal.recent()[0].state is Outcome.LIVE)
    assert flow.journal.recent()[0].reason == "fake-1 was ended by SIGKILL: out of memory"
