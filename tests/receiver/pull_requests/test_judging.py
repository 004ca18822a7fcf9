"""When a version is measured, and when again."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ml.evidence import CheckOutcome, Evidence, Verdict, gate_digest
from receiver.core.state import Slot
from receiver.pull_requests import judging
from receiver.pull_requests.judging import Judge
from tests.support.evidence import KEY
from tests.support.fake_registry import FakeRegistry

SLOT, CHECKS = Slot("staging", "m"), {"accuracy": {"min": 0.8}, "replay": {"flips": {"max": 0.02}}}
PASS, FAIL, OPEN = CheckOutcome.PASS, CheckOutcome.FAIL, CheckOutcome.INCONCLUSIVE


class Gate:
    """Records what it is told, as of a while ago."""

    def __init__(self, registry: FakeRegistry, outcomes: Sequence[CheckOutcome]) -> None:
        self.registry = registry
        self.outcomes = outcomes
        self.age = 0.0
        self.checks: Mapping[str, object] = CHECKS
        self.champion = 0
        self.key = KEY
        self.runs = 0

    def run(self, slot: Slot, version: int, files: Mapping[str, bytes], stop: threading.Event) -> None:
        self.runs += 1
        names = ("accuracy", "replay.flips")
        verdicts = tuple(Verdict(n, o, 0.9, ">=", 0.8) for n, o in zip(names, self.outcomes, strict=True))
        made = Evidence(
            *(slot.model, version, slot.environment, "sha256:1", "sha256:2", gate_digest(self.checks)),
            verdicts=verdicts,
            measured_at=time.time() - self.age,
            champion=self.champion,
        )
        self.registry.record(self.key.sign(made))


@pytest.fixture
def registry(tmp_path: Path) -> FakeRegistry:
    registry = FakeRegistry(tmp_path)
    registry.register("m", {"MLmodel": "v1"})
    return registry


def judged(registry: FakeRegistry, *outcomes: CheckOutcome) -> tuple[Judge, Gate]:
    gate = Gate(registry, outcomes)
    return Judge(registry, gate, threading.Event(), [KEY.public]), gate


@pytest.mark.parametrize("outcomes", [(PASS, PASS), (PASS, FAIL), (FAIL, OPEN), (OPEN, PASS)])
def test_what_is_decided_is_measured_once(registry: FakeRegistry, outcomes: Sequence[CheckOutcome]) -> None:
    judge, gate = judged(registry, *outcomes)
    gate.age = 10 * judging.AGAIN_SECONDS
    for _ in range(3):
        assert judge.evidence(SLOT, 1, CHECKS, {}) is not None
    assert gate.runs == 1


def test_what_too_few_requests_left_open_is_measured_again_after_a_while(registry: FakeRegistry) -> None:
    judge, gate = judged(registry, PASS, OPEN)
    for _ in range(3):
        found = judge.evidence(SLOT, 1, CHECKS, {})
        assert found is not None
        assert not found.passed
    assert gate.runs == 1
    registry.record(KEY.sign(replace(found, measured_at=time.time() - judging.AGAIN_SECONDS - 1)))
    gate.outcomes = (PASS, PASS)
    for _ in range(3):
        found = judge.evidence(SLOT, 1, CHECKS, {})
        assert found is not None
        assert found.passed
    assert gate.runs == 2


def test_a_version_that_was_compared_with_what_is_not_live_any_more_is_measured_again(registry: FakeRegistry) -> None:
    checks = {**CHECKS, "champion": {"require": "hold"}}
    judge, gate = judged(registry, PASS, PASS)
    gate.checks = checks
    for live, runs in ((4, 1), (4, 1), (5, 2), (5, 2)):
        gate.champion = live
        found = judge.evidence(SLOT, 1, checks, {}, live)
        assert found is not None
        assert (found.champion, gate.runs) == (live, runs)


def test_a_gate_that_compares_nothing_measures_once_whatever_is_live(registry: FakeRegistry) -> None:
    judge, gate = judged(registry, PASS, PASS)
    gate.checks = {"accuracy": {"min": 0.8}}
    for live in (4, 5):
        assert judge.evidence(SLOT, 1, gate.checks, {}, live) is not None
    assert gate.runs == 1
