"""Bad versions on a real engine: the old one goes on serving, and the outcome says what happened."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from receiver.core.deployment import Outcome
from receiver.targets.compose.project import COMPOSE
from tests.contracts.target import occupied
from tests.support import tiny_container as flawed
from tests.support import tiny_server
from tests.support.compose_stack import Stack
from tests.support.docker_engine import owned_place, required_docker, tiny_image
from tests.support.keepalive import load
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

FAULTS = {
    "exits at once": (tiny_server.EXITS_AT_ONCE, ["ended while it was starting", "exit status 3", "no such model"]),
    "is never healthy": (tiny_server.HANGS_WHILE_LOADING, ["was not healthy 4 s after its start", "serving v902"]),
    "says it is sick": (tiny_server.SICK, ["was not healthy 4 s after its start"]),
    "needs too much memory to start": (flawed.EATS_MEMORY_AT_START, ["OOMKilled", "mem_limit"]),
    "needs too much memory later": (flawed.EATS_MEMORY_SOON, ["OOMKilled"]),
    "dies three seconds after it was healthy": (flawed.DIES_SOON, ["exit status 9", "the model lost its mind"]),
    "serves another version": (tiny_server.ANSWERS_AS_ANOTHER_VERSION, ["expected version 903", "got 1"]),
    "dies after its first answer": (tiny_server.DIES_AFTER_AN_ANSWER, ["v904", "exit status 9"]),
    "predicts nonsense": (tiny_server.PREDICTS_NAN, ["expected finite numbers"]),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose version 1 is live; every test leaves it so. Servers may have little memory."""
    docker = required_docker()
    state = tmp_path_factory.mktemp("stack")
    compose = state / "little" / "compose"
    shutil.copytree(COMPOSE, compose)
    small = (compose / "serving.yaml").read_text().replace("limit: 1g", "limit: 128m")
    (compose / "serving.yaml").write_text(small)
    with owned_place(docker, state, tiny_image(docker), compose) as place:
        stack = Stack(docker, place, watch_seconds=4.0, start_seconds=60.0)
        stack.offer(1)
        assert stack.promote(1).state is Outcome.LIVE
        yield stack


@pytest.mark.parametrize("fault", FAULTS)
def test_the_old_version_goes_on_serving_and_the_cause_is_named_when_a_new_one(stack: Stack, fault: str) -> None:
    version, causes = FAULTS[fault]
    stack.offer(version)
    hopeless = version in (tiny_server.HANGS_WHILE_LOADING, tiny_server.SICK)
    stack.containers.start_seconds = 4.0 if hopeless else 60.0
    with load(stack.port, connections=4) as seen:
        deployment = stack.promote(version)
    assert deployment.state is Outcome.ROLLED_BACK
    for cause in causes:
        assert cause in deployment.reason
    assert "\x1b" not in deployment.reason
    assert stack.answering() == 1
    assert stack.aliases() == {"staging": 1}
    # Who was away when the plan was made, in between two of its crashes, is retired at the next look.
    eventually(lambda: not any("restart" in status.lower() for status in stack.statuses()), 30)
    stack.run("timer")
    assert [server.spec.version for server in stack.servers()] == [1]
    assert seen.answers[-1].version == 1
    never_had_traffic = not any(answer.version == version for answer in seen.answers)
    assert not never_had_traffic or seen.failures == []


def test_a_port_of_another_program_is_named_and_the_old_port_keeps_serving(stack: Stack) -> None:
    here, stack.port = stack.port, free_port()
    stack.offer(2)
    try:
        with occupied(stack.port):
            deployment = stack.promote(2)
        assert deployment.state is Outcome.INTERRUPTED  # and the port that it had serves on
        assert f"port {stack.port} on 127.0.0.1 is taken" in deployment.reason
        assert "models.churn-model.port in environments/staging.yaml" in deployment.reason
    finally:
        stack.port = here
    assert stack.answering() == 1
    assert stack.promote(1) is not None


def test_what_failed_before_is_gone_when_the_next_version_is_live(stack: Stack) -> None:
    stack.offer(3)
    assert stack.promote(3).state is Outcome.LIVE
    assert len(stack.all_containers()) == 2  # the front door and version 3
    assert stack.answering() == 3


def test_a_missing_image_is_named_before_the_registry_changes(tmp_path: Path) -> None:
    docker = required_docker()
    with owned_place(docker, tmp_path, "pinrail-serving:neverbuilt") as place, ExitStack():
        stack = Stack(docker, place)
        stack.offer(1)
        deployment = stack.promote(1)
        assert deployment.state is Outcome.INTERRUPTED
        assert "pinrail-serving:neverbuilt is not on this machine: make it with `pinrail build`" in deployment.reason
        assert stack.registry.writes == []
        assert stack.all_containers() == []
