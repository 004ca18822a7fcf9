"""A live server that ends is noticed within a pulse, once; one that was retired is not."""

from pathlib import Path

import pytest

from receiver.core.errors import Retryable
from receiver.pulse import PULSE_SECONDS, Pulse
from tests.support.flow import Flow


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    flow = Flow(tmp_path)
    flow.register(1)
    flow.pin(staging=1, production=1)
    flow.run()
    return flow


@pytest.fixture
def pulse(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> Pulse:
    now = iter(range(0, 1_000, int(PULSE_SECONDS) + 1))
    monkeypatch.setattr("receiver.pulse.time.monotonic", lambda: float(next(now)))
    return Pulse(flow.target)


def test_a_live_server_that_ended_is_noticed_once(flow: Flow, pulse: Pulse) -> None:
    assert not pulse.ended()
    dead = flow.target.observe()[0]
    flow.target.die(dead)
    assert [server.id for server in pulse.ended()] == [dead.id]
    assert not pulse.ended()


def test_a_server_that_ends_right_after_the_job_that_started_it_is_noticed(flow: Flow, pulse: Pulse) -> None:
    pulse.expect(flow.target.observe())
    dead = flow.target.observe()[0]
    flow.target.die(dead)
    assert [server.id for server in pulse.ended()] == [dead.id]


def test_what_a_job_ended_is_not_missed(flow: Flow, pulse: Pulse) -> None:
    assert not pulse.ended()
    flow.target.retire(flow.target.observe()[0])
    pulse.expect(flow.target.observe())
    assert not pulse.ended()


def test_an_engine_that_cannot_be_asked_is_no_news(flow: Flow, pulse: Pulse, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise Retryable("the engine is down")

    assert not pulse.ended()
    with monkeypatch.context() as patched:
        patched.setattr(flow.target, "observe", away)
        assert not pulse.ended()
    assert not pulse.ended()
