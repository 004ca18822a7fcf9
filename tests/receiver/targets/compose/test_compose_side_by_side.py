"""What waits for what with containers: git and registry hang, a container is killed, and a person rolls back."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from receiver.adapters.docker import Docker
from receiver.core.state import Role, Slot
from receiver.pull_requests.rollback import hold_newer, plan_rollback
from receiver.targets.compose.project import Place
from tests.support.compose_stack import Stack
from tests.support.running_controller import running
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


def took(condition: Callable[[], object]) -> float:
    began = time.monotonic()
    eventually(condition, 60)
    return time.monotonic() - began


def test_with_git_and_registry_hanging_containers_are_healed_and_a_rollback_is_quick(
    docker: Docker, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack(docker, place, watch_seconds=0.5)
    stack.offer(1, 2)
    stack.promote(1)
    began = time.monotonic()
    stack.promote(2)
    promotion = time.monotonic() - began
    answers = threading.Event()

    def hangs(*_: object) -> None:
        assert answers.wait(120)

    def live() -> str:
        return next(s.id for s in stack.servers() if s.role is Role.LIVE)

    slot = Slot("staging", stack.model)
    with running(stack) as work:
        eventually(lambda: work.states() == {"staging": "in sync"})
        monkeypatch.setattr(stack.source, "snapshot", hangs)
        for method in ("observe", "set_alias", "set_stage"):
            monkeypatch.setattr(stack.registry, method, hangs)
        work.queue.enqueue("push")
        docker.run("kill", live())
        eventually(lambda: stack.answering() is None, 20)
        healed = took(lambda: stack.answering() == 2)
        hold_newer(stack.services, plan_rollback(stack.services, slot, None, now=True), "wrong answers")
        back = took(lambda: stack.answering() == 1)
    answers.set()
    # A heal starts one container, as a promotion does, which waits for a watch and for its old server's end besides.
    assert max(healed, back) < promotion + 3, (healed, back, promotion)


def test_a_rollback_under_watch_has_the_traffic_back_within_seconds(docker: Docker, place: Place) -> None:
    stack = Stack(docker, place, watch_seconds=0.2)
    stack.offer(1, 2)
    stack.promote(1)
    stack.services = replace(stack.services, stabilise_seconds=60.0)
    stack.pin(2)
    with running(stack):
        eventually(lambda: stack.answering() == 2, 60)
        slot = Slot("staging", stack.model)
        hold_newer(stack.services, plan_rollback(stack.services, slot, None, now=True), "wrong answers")
        back = took(lambda: stack.answering() == 1)
    assert back < 2, back
