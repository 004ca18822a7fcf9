"""A version's packages are installed before anything is started or written, and nobody who serves is disturbed."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.core.deployment import Outcome
from receiver.core.errors import Retryable, VersionFailed
from receiver.core.plan import ActionKind
from receiver.core.state import Role, ServerSpec, Slot
from receiver.planning.assess import assess
from receiver.planning.observe import observe_head
from receiver.planning.status import activities_now, status_report
from receiver.ports import Stop, never
from receiver.reconciler.interruptible import Interrupt, interruptible
from tests.support.flow import MODEL, Flow
from tests.support.running_controller import running
from tests.support.waiting import eventually

STAGING = Slot("staging", MODEL)
NEEDED = "xgboost==3.2.0, lightgbm==4.7.0"


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    """Version 1 is live; version 2 needs packages."""
    flow = Flow(tmp_path)
    flow.register(1, 2, 3)
    flow.pin(staging=1)
    flow.run()
    flow.target.packages[2] = NEEDED
    return flow


def actions(flow: Flow) -> list[ActionKind]:
    return [step.action.kind for step in flow.journal.steps(flow.journal.history(STAGING)[-1].id)]


def test_they_are_installed_first_and_once(flow: Flow) -> None:
    flow.pin(staging=2)
    planned = assess(flow.services, observe_head(flow.services), STAGING).actions
    if planned:  # else the version has to be fetched before
        assert str(planned[0]) == f"install v2: - -> {NEEDED}"
    flow.run()
    assert flow.serving()["staging"] == 2
    assert actions(flow)[:2] == [ActionKind.INSTALL, ActionKind.START]
    assert flow.target.installed == {NEEDED}
    flow.target.packages[3] = NEEDED
    flow.pin(staging=3)
    flow.run()
    assert flow.serving()["staging"] == 3
    assert ActionKind.INSTALL not in actions(flow), "they are there"


def test_what_is_brought_back_with_packages_keeps_nobody_else_from_starting(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade, when they are to be installed anew."""
    begun, installed, install = threading.Event(), threading.Event(), flow.target.install

    def slowly(spec: ServerSpec, stop: Stop = never) -> None:
        begun.set()
        installed.wait(20)
        install(spec, stop)

    monkeypatch.setattr(flow.target, "install", slowly)
    target = interruptible(flow.services, Interrupt(), threading.Semaphore(1)).target
    known = flow.target.observe()[0].spec
    back = threading.Thread(target=target.start, args=[replace(known, version=2)], daemon=True)
    back.start()
    try:
        assert begun.wait(5)
        target.start(replace(known, version=3), _at_most(5))
    finally:
        installed.set()
    back.join(5)
    assert {server.spec.version for server in flow.target.observe()} == {1, 2, 3}


def _at_most(seconds: float) -> Stop:
    until = time.monotonic() + seconds

    def stop() -> None:
        assert time.monotonic() < until, "it waits for the packages of another"

    return stop


def test_packages_that_do_not_go_together_are_the_versions_fault(flow: Flow) -> None:
    flow.target.failing[2] = VersionFailed("its packages cannot be installed: numpy<2")
    writes, servers = len(flow.registry.writes), flow.target.observe()
    flow.pin(staging=2)
    flow.run()
    last = flow.journal.history(STAGING)[-1]
    assert (last.state, last.reason) == (Outcome.ROLLED_BACK, "its packages cannot be installed: numpy<2")
    assert (len(flow.registry.writes), flow.target.observe()) == (writes, servers)
    assert [entry.version for entry in flow.journal.quarantined()] == [2]


def test_an_index_that_does_not_answer_is_nobodys_fault_and_is_asked_again(flow: Flow) -> None:
    flow.target.failing[2] = Retryable("its packages cannot be installed now: connection refused")
    writes, servers = len(flow.registry.writes), flow.target.observe()
    flow.pin(staging=2)
    flow.run()
    assert flow.journal.history(STAGING)[-1].state is Outcome.INTERRUPTED
    assert (len(flow.registry.writes), flow.target.observe()) == (writes, servers)
    assert flow.journal.quarantined() == []
    flow.target.failing.clear()
    flow.run("timer")
    assert flow.serving()["staging"] == 2


def test_what_can_be_loaded_nowhere_is_refused_before_anything_happens(flow: Flow) -> None:
    flow.target.unsuitable.add(2)
    flow.pin(staging=2)
    flow.run()
    last = flow.journal.history(STAGING)[-1]
    assert last.state is Outcome.REFUSED
    assert "Python 2.7" in last.reason
    assert flow.serving()["staging"] == 1
    [row] = [row for row in status_report(flow.services, observe_head(flow.services)).slots if row.model == MODEL][:1]
    assert row.state == "refused"


def test_where_packages_are_locked_no_version_brings_its_own(flow: Flow) -> None:
    flow.target.installed.add(NEEDED)  # for another environment
    files = flow.files(2, None)
    policy = b"policy: {packages: locked}\nmodels:"
    files["environments/staging.yaml"] = files["environments/staging.yaml"].replace(b"models:", policy)
    flow.source.commit(files)
    flow.run()
    last = flow.journal.history(STAGING)[-1]
    assert last.state is Outcome.REFUSED
    assert f"({NEEDED}), and policy.packages is locked" in last.reason
    flow.target.packages.clear()
    flow.source.commit({**files, "README.md": b"its packages are here now"})
    flow.run()
    assert flow.serving()["staging"] == 2


class Installing:
    """An installation that takes until it is let go, or has to give way."""

    def __init__(self, flow: Flow) -> None:
        self.began, self.goes_on = threading.Event(), threading.Event()
        self._real = flow.target.install
        flow.target.install = self.install  # type: ignore[method-assign]

    def install(self, spec: ServerSpec, stop: Stop = never) -> None:
        self.began.set()
        while not self.goes_on.wait(0.005):
            stop()
        self._real(spec, stop)


@pytest.fixture
def installing(flow: Flow) -> Iterator[Installing]:
    found = Installing(flow)
    yield found
    found.goes_on.set()


def test_who_looks_sees_what_is_being_installed(flow: Flow, installing: Installing) -> None:
    flow.pin(staging=2)
    with running(flow) as work:
        assert installing.began.wait(10)
        eventually(lambda: work.states()["staging"] == "deploying")
        eventually(
            lambda: NEEDED in next(r.reason for r in work.status_board.report().slots if r.environment == "staging")
        )
        assert activities_now(flow.services)[STAGING].installs == NEEDED, "another process sees it too"
        installing.goes_on.set()
        eventually(lambda: flow.serving()["staging"] == 2)
        eventually(lambda: work.states()["staging"] == "in sync")


def test_a_newer_pin_does_not_wait_for_packages(flow: Flow, installing: Installing) -> None:
    flow.pin(staging=2)
    with running(flow) as work:
        assert installing.began.wait(10)
        flow.pin(staging=3)
        work.queue.enqueue("push")
        eventually(lambda: flow.serving()["staging"] == 3)
    assert flow.target.installed == set()


def test_a_server_that_dies_meanwhile_is_healed_first(flow: Flow, installing: Installing) -> None:
    flow.pin(staging=2)
    with running(flow) as work:
        assert installing.began.wait(10)
        flow.target.die(next(s for s in flow.target.observe() if s.role is Role.LIVE))
        eventually(lambda: flow.serving()["staging"] == 1)
        installing.goes_on.set()
        work.queue.enqueue("push")
        eventually(lambda: flow.serving()["staging"] == 2)
