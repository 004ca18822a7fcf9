"""Carrying a plan out where the world is not quite what the plan saw."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.adapters.prober import is_healthy
from receiver.core.deployment import Cause, Draft
from receiver.core.errors import Rejected
from receiver.core.plan import ActionKind, Goal, Purpose, World, plan
from receiver.core.state import Role, Server, ServerSpec, Slot
from receiver.reconciler.apply import Run
from tests.contracts.target import asked_version
from tests.support.flow import MODEL, FakeProber, Flow
from tests.support.ports import free_port
from tests.support.process_target import cleaned_up, process_target
from tests.support.tiny_server import LOADS_SLOWLY

SLOT = Slot("staging", MODEL)


class HealthProber(FakeProber):
    """Asks a real server whether it is well."""

    def prove(self, server: Server, artifacts: Path) -> None:
        if not is_healthy(server.urls[0]):
            raise Rejected(f"v{server.spec.version} is not well")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    with cleaned_up(tmp_path) as directory:
        yield directory


def test_a_candidate_that_loads_while_its_receiver_dies_gets_its_time_from_the_next_one(state: Path) -> None:
    flow, target = Flow(state), process_target(state)
    flow.register(1)
    version = flow.registry.models[MODEL][LOADS_SLOWLY] = flow.registry.models[MODEL][1]
    spec = ServerSpec(SLOT, LOADS_SLOWLY, version.digest, "Staging", free_port(), "c" * 40)
    target._spawn(spec)  # and here the first receiver is killed

    goal = Goal(SLOT, replace(spec, revision="d" * 40), Purpose.PROMOTE)
    actions = plan(goal, World(target.observe(), None, ()))
    assert [action.kind for action in actions] == [ActionKind.PROVE, ActionKind.SWITCH, ActionKind.WATCH]
    deployment = flow.journal.open(Draft(SLOT, None, spec.version, spec.digest, "d" * 40, Cause.read("startup")))
    Run(replace(flow.services, target=target, prober=HealthProber()), deployment).apply(goal, actions)

    assert asked_version(spec.port) == LOADS_SLOWLY
    assert [server.role for server in target.observe()] == [Role.LIVE]
