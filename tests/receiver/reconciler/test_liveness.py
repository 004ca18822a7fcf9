"""A live server that ends is noticed within a pulse, and told once; one that was retired is not missed."""

from pathlib import Path

import pytest

from receiver.core.errors import Retryable
from receiver.core.state import Slot
from receiver.reconciler.liveness import POLL_SECONDS, LivenessMonitor
from tests.support.flow import MODEL, Flow

STAGING, PRODUCTION = Slot("staging", MODEL), Slot("production", MODEL)


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    flow = Flow(tmp_path)
    flow.register(1)
    flow.pin(staging=1, production=1)
    flow.run()
    return flow


@pytest.fixture
def liveness(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> LivenessMonitor:
    now = iter(range(0, 1_000, int(POLL_SECONDS) + 1))
    monkeypatch.setattr("receiver.reconciler.liveness.time.monotonic", lambda: float(next(now)))
    liveness = LivenessMonitor(flow.target)
    liveness.expect([STAGING, PRODUCTION])
    return liveness


def die(flow: Flow, slot: Slot) -> None:
    flow.target.die(next(s for s in flow.target.observe() if s.spec.slot == slot))


def test_a_live_server_that_ended_is_reported_once_also_right_after_the_job_that_started_it(
    flow: Flow, liveness: LivenessMonitor
) -> None:
    die(flow, STAGING)
    assert set(liveness.ended()) == {STAGING}
    assert not liveness.ended()


def test_one_that_came_back_and_ended_again_is_reported_again(flow: Flow, liveness: LivenessMonitor) -> None:
    die(flow, STAGING)
    assert liveness.ended()
    flow.run("server ended")
    assert not liveness.ended()
    die(flow, STAGING)
    assert set(liveness.ended()) == {STAGING}


def test_a_slot_that_is_to_be_empty_is_not_missed(flow: Flow, liveness: LivenessMonitor) -> None:
    die(flow, PRODUCTION)
    liveness.expect([STAGING])
    assert not liveness.ended()


def test_an_engine_that_cannot_be_asked_is_not_reported(
    flow: Flow, liveness: LivenessMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise Retryable("the engine is down")

    with monkeypatch.context() as patched:
        patched.setattr(flow.target, "observe", away)
        assert not liveness.ended()
    assert not liveness.ended()
