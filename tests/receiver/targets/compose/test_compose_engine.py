"""The engine itself goes away and comes back: nothing is lost, and nothing is written meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.core.deployment import Outcome
from receiver.core.errors import Retryable
from receiver.targets.compose.project import FRONT_IMAGE
from tests.support.compose_stack import Stack, in_background
from tests.support.docker_engine import owned_place, required_docker, tiny_image
from tests.support.private_engine import Engine, private_engine
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    image = tiny_image(required_docker())
    with private_engine() as engine:
        engine.load(image, FRONT_IMAGE)
        yield engine


@pytest.fixture
def stack(engine: Engine, tmp_path: Path) -> Iterator[Stack]:
    """Version 1 is live."""
    docker = engine.client()
    with owned_place(docker, tmp_path, tiny_image(required_docker())) as place:
        stack = Stack(docker, place)
        stack.offer(1, 2)
        assert stack.promote(1).state is Outcome.LIVE
        yield stack


def test_after_a_restart_of_the_engine_the_same_version_answers_without_a_receiver(
    engine: Engine, stack: Stack
) -> None:
    before = stack.servers()
    engine.stop()
    stack.pin(2)
    with pytest.raises(Retryable, match="no docker engine answers"):
        stack.run()
    assert stack.aliases() == {"staging": 1}
    engine.start()
    eventually(lambda: stack.answering() == 1, 60)
    assert [(s.id, s.spec, s.role) for s in stack.servers()] == [(s.id, s.spec, s.role) for s in before]
    stack.run()
    assert stack.answering() == 2


def test_a_deployment_that_loses_its_engine_is_interrupted_and_then_made_anew(engine: Engine, stack: Stack) -> None:
    stack.pin(2)
    reconciling = in_background(stack)
    eventually(lambda: any("-v2-" in container for container in stack.all_containers()), 30)
    engine.stop()
    reconciling.join(90)
    assert stack.journal.recent(1)[0].state is Outcome.INTERRUPTED
    assert "no docker engine answers" in stack.journal.recent(1)[0].reason
    engine.start()
    eventually(lambda: stack.answering() == 1, 60)
    stack.run("timer")
    assert stack.journal.recent(1)[0].state is Outcome.LIVE
    assert stack.answering() == 2
    assert len(stack.all_containers()) == 2
