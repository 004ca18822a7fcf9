"""Traffic changes servers and no client notices: real containers, real proxy, kept-alive connections."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.targets.compose.target import ComposeTarget
from tests.contracts.target import PRODUCTION, asked_version, spec
from tests.support.callers import Caller
from tests.support.docker_engine import compose_target, owned_place, required_docker, tiny_image
from tests.support.keepalive import load
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[ComposeTarget]:
    docker = required_docker()
    with owned_place(docker, tmp_path, tiny_image(docker)) as place:
        yield compose_target(docker, place)


def test_twenty_swaps_in_a_row_fail_no_request(target: ComposeTarget) -> None:
    port = free_port()
    one, two = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(one)
    took = []
    with load(port, connections=16) as seen:
        eventually(lambda: len(seen.answers) > 100)
        for number in range(20):
            started = time.monotonic()
            server = (two, one)[number % 2]
            target.switch(server)
            took.append(time.monotonic() - started)
            asked = len(seen.answers)
            eventually(lambda: len(seen.answers) > asked + 50)  # noqa: B023
            after = [a for a in seen.answers if a.sent > started + took[-1]]
            assert {a.version for a in after} == {server.spec.version}
    assert seen.failures == []
    assert seen.connects == 16


def test_ports_are_exchanged_and_every_caller_is_answered_by_one_slot_and_then_the_other(
    target: ComposeTarget,
) -> None:
    here, there = free_port(), free_port()
    for server in (target.start(spec(1, here)), target.start(spec(1, there, PRODUCTION))):
        target.switch(server)
    new = [target.start(spec(2, there)), target.start(spec(1, here, PRODUCTION))]
    with Caller(here) as first, Caller(there) as second:
        eventually(lambda: len(first.answers) > 50 and len(second.answers) > 50)
        target.exchange(new)
        asked = len(first.answers)
        eventually(lambda: len(first.answers) > asked + 50)
    assert (first.said(), second.said()) == (["staging", "production"], ["production", "staging"])
    assert first.failures == second.failures == []
    assert max(first.longest_silence(), second.longest_silence()) < 2.0


def test_a_promotion_and_its_rollback_fail_no_request(target: ComposeTarget) -> None:
    port = free_port()
    old = target.start(spec(1, port))
    target.switch(old)
    with load(port, connections=16) as seen:
        for version in (2, 3):
            new = target.start(spec(version, port))
            target.switch(new)
            target.retire(old)
            old = new
        candidate = target.start(spec(4, port))
        target.switch(candidate)
        target.switch(old)
        target.retire(candidate)
        asked = len(seen.answers)
        eventually(lambda: len(seen.answers) > asked + 50)
    assert seen.failures == []
    assert {answer.version for answer in seen.answers} == {1, 2, 3, 4}
    assert asked_version(port) == 3


def test_requests_in_flight_get_their_answer_from_a_server_that_retires(target: ComposeTarget) -> None:
    port = free_port()
    old, new = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(old)
    with load(port, connections=8, path="/sleep") as seen:
        eventually(lambda: len(seen.answers) > 4)
        target.switch(new)
        target.retire(old)
        eventually(lambda: any(a.version == 2 for a in seen.answers), 30)
    assert seen.failures == []
    assert {answer.version for answer in seen.answers} == {1, 2}


def test_when_the_live_server_dies_the_one_that_stands_by_answers_at_once(target: ComposeTarget) -> None:
    port = free_port()
    old, new = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(old)
    target.switch(new)
    with load(port, connections=8) as seen:
        eventually(lambda: len(seen.answers) > 100)
        required_docker().run("kill", new.id)
        eventually(lambda: seen.answers[-1].version == 1, 30)
        target.switch(old)
        target.retire(new)
        asked = len(seen.answers)
        eventually(lambda: len(seen.answers) > asked + 50)
    assert seen.failures == []
