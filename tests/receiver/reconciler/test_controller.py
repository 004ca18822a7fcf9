"""Slots side by side: what waits for what, and what gives way to what."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.cli.commands.plan import plan_view
from receiver.core.backoff import Backoff
from receiver.core.deployment import DRIFT, Deployment, Outcome
from receiver.core.errors import Rejected, VersionFailed
from receiver.core.quarantine import Freeze
from receiver.core.state import Role, Server, ServerSpec, Slot
from receiver.ports import Snapshot, Stop, never
from receiver.pull_requests.rollback import hold_newer, plan_rollback
from receiver.reconciler import controller
from tests.support.flow import MODEL, FakeProber, Flow
from tests.support.running_controller import Running, running
from tests.support.waiting import eventually

STAGING, PRODUCTION = Slot("staging", MODEL), Slot("production", MODEL)


class WatchingProber(FakeProber):
    """Watches the versions in ``long`` until ``over``; notes which watches began."""

    def __init__(self) -> None:
        super().__init__()
        self.long: set[int] = set()
        self.over = threading.Event()
        self.began: list[int] = []
        self.gone: set[str] = set()  # servers that do not answer any more

    def watch(self, server: Server, seconds: float, stop: Stop = never) -> None:
        self.began.append(server.spec.version)
        while server.spec.version in self.long and not self.over.wait(0.005):
            stop()
            if server.id in self.gone:
                raise VersionFailed("no answer")
        super().watch(server, seconds, stop)


@pytest.fixture
def prober() -> Iterator[WatchingProber]:
    found = WatchingProber()
    yield found
    found.over.set()


@pytest.fixture
def flow(tmp_path: Path, prober: WatchingProber) -> Flow:
    """Version 1 is live and verified in both environments."""
    flow = Flow(tmp_path)
    object.__setattr__(flow.services, "prober", prober)
    flow.prober = prober
    flow.register(1, 2, 3)
    flow.pin(staging=1, production=1)
    flow.run()
    return flow


@pytest.fixture
def watched(flow: Flow, prober: WatchingProber) -> Iterator[Running]:
    """Version 2 is under watch in staging, and stays so."""
    prober.long.add(2)
    flow.pin(staging=2, production=1)
    with running(flow) as work:
        eventually(lambda: 2 in prober.began)
        yield work


def live(flow: Flow, slot: Slot) -> Server:
    return next(s for s in flow.target.observe() if s.spec.slot == slot and s.role is Role.LIVE)


def outcomes(flow: Flow, slot: Slot) -> list[Outcome]:
    return [d.state for d in flow.journal.history(slot)]


def healed(flow: Flow) -> list[Deployment]:
    return [d for d in flow.journal.history(STAGING) if d.draft.cause == DRIFT and d.state.terminal]


def notified(flow: Flow) -> list[str]:
    rows = flow.database.connection().execute("SELECT body FROM outbox WHERE channel = 'notify' ORDER BY id")
    return [json.loads(row["body"])["title"] for row in rows]


def test_a_server_that_dies_is_healed_while_another_slot_is_under_watch(flow: Flow, watched: Running) -> None:
    flow.target.die(live(flow, PRODUCTION))
    eventually(lambda: flow.serving()["production"] == 1, 5)
    eventually(lambda: watched.states() == {"staging": "deploying", "production": "in sync"})


def test_a_newer_pin_ends_the_watch_and_what_was_watched_is_not_verified(flow: Flow, watched: Running) -> None:
    flow.pin(staging=3, production=1)
    watched.queue.enqueue("push")
    eventually(lambda: flow.journal.verified()[STAGING].version == 3)
    versions = [(d.draft.to_version, d.state) for d in flow.journal.history(STAGING)]
    assert (2, Outcome.INTERRUPTED) in versions
    assert (2, Outcome.LIVE) not in versions
    assert flow.serving()["staging"] == 3


def test_a_commit_that_changes_nothing_here_leaves_the_watch_alone(flow: Flow, watched: Running) -> None:
    commit = flow.source.commit({**flow.files(2, 1), "README.md": b"more"})
    watched.queue.enqueue("push")
    eventually(lambda: watched.status_board.report().commit == commit)
    assert outcomes(flow, STAGING)[-1] is Outcome.RUNNING


def test_a_rollback_ends_the_watch_at_once(flow: Flow, watched: Running) -> None:
    plan = plan_rollback(flow.services, STAGING, None, now=True)
    hold_newer(flow.services, plan, "wrong answers")
    eventually(lambda: flow.serving()["staging"] == 1, 2)
    eventually(lambda: outcomes(flow, STAGING)[-1] is Outcome.LIVE)
    last = flow.journal.history(STAGING)[-1]
    assert (str(last.draft.cause), last.reason) == ("rollback", "wrong answers")
    eventually(lambda: watched.states()["staging"] == "rolled-back")


def test_a_hold_ends_the_watch_and_nothing_new_comes_until_it_is_over(flow: Flow, watched: Running) -> None:
    flow.journal.freeze(Freeze("staging", MODEL, "an audit", time.time()))
    eventually(lambda: flow.serving()["staging"] == 1)
    eventually(lambda: watched.states()["staging"] == "held")
    flow.prober.long.clear()  # type: ignore[attr-defined]
    assert flow.journal.unfreeze("staging", MODEL)
    eventually(lambda: flow.journal.verified()[STAGING].version == 2)


def test_a_server_that_dies_under_watch_fails(flow: Flow, watched: Running, prober: WatchingProber) -> None:
    server = live(flow, STAGING)
    flow.target.die(server)
    prober.gone.add(server.id)
    eventually(lambda: outcomes(flow, STAGING)[-1] is Outcome.ROLLED_BACK)
    assert flow.serving()["staging"] == 1


def test_what_interrupts_a_deployment_is_shown_until_it_goes_on(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    start, full = flow.target.start, threading.Event()
    full.set()

    def starts(spec: ServerSpec, stop: Stop = never, at_once: int = 1) -> Server:
        if full.is_set():
            raise Rejected("no space left on the device: free some")
        return start(spec, stop)

    monkeypatch.setattr(flow.target, "start", starts)
    monkeypatch.setattr(controller, "AGAIN", Backoff(first=0.2, longest=0.2))
    said = "the last attempt was interrupted, and it is tried again: no space left on the device: free some"
    flow.pin(staging=2, production=1)
    with running(flow) as work:
        eventually(lambda: work.reasons().get("staging") == said)
        assert {row.environment: row.reason for row in plan_view(flow.services).plan}["staging"] == said
        full.clear()
        eventually(lambda: flow.journal.verified()[STAGING].version == 2)
        eventually(lambda: work.reasons() == {"staging": "", "production": ""})


def test_git_that_hangs_holds_up_neither_healing_nor_a_rollback(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flow.pin(staging=2, production=1)
    flow.run()
    answers = threading.Event()

    def hangs() -> Snapshot:
        assert answers.wait(60)
        raise Rejected("too late")

    monkeypatch.setattr(flow.source, "snapshot", hangs)
    flow.target.die(live(flow, PRODUCTION))
    with running(flow) as work:
        eventually(lambda: flow.serving()["production"] == 1, 5)
        hold_newer(flow.services, plan_rollback(flow.services, STAGING, None, now=True), "wrong answers")
        eventually(lambda: flow.serving()["staging"] == 1, 5)
        began = time.monotonic()
        work.fetcher.stop()
        work.controller.stop()
        assert time.monotonic() - began < 5
    answers.set()


@pytest.mark.parametrize("method", ["observe", "set_alias"])
def test_a_registry_that_hangs_holds_up_neither_healing_nor_a_rollback(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    flow.pin(staging=2, production=1)
    flow.run()
    flow.pin(staging=3, production=1)
    flow.registry.fetch(MODEL, 3)
    answers, asked = threading.Event(), threading.Event()

    def hangs(*_: object) -> None:
        asked.set()
        assert answers.wait(60)

    monkeypatch.setattr(flow.registry, method, hangs)
    with running(flow) as work:
        eventually(asked.is_set)
        flow.target.die(live(flow, PRODUCTION))
        eventually(lambda: flow.serving()["production"] == 1, 5)
        work.queue.enqueue("push")
        hold_newer(flow.services, plan_rollback(flow.services, STAGING, 1, now=True), "wrong answers")
        eventually(lambda: flow.serving()["staging"] == 1, 5)
        began = time.monotonic()
        work.controller.stop()
        assert time.monotonic() - began < 5
    answers.set()


def test_one_commit_for_both_environments_goes_through_staging_first_and_nothing_is_refused(flow: Flow) -> None:
    flow.pin(staging=2, production=2)
    with running(flow):
        eventually(lambda: flow.serving() == {"staging": 2, "production": 2})
        eventually(lambda: outcomes(flow, PRODUCTION) == [Outcome.LIVE, Outcome.LIVE])
    staging, production = (flow.journal.history(slot)[-1] for slot in (STAGING, PRODUCTION))
    assert staging.ended_at is not None
    assert production.started_at >= staging.ended_at
    assert flow.stages() == {1: "Archived", 2: "Production"}


def test_many_models_of_one_commit_are_watched_at_once(tmp_path: Path, prober: WatchingProber) -> None:
    flow = Flow(tmp_path)
    object.__setattr__(flow.services, "prober", prober)
    names = [f"model-{number}" for number in range(20)]
    for name in names:
        flow.registry.register(name, {"MLmodel": name})
    models = "\n".join(f"  {name}: {{version: 1, port: {8100 + n}}}" for n, name in enumerate(names))
    text = f"environment: staging\nregistry: {{stage: Staging, alias: staging}}\ngate: {{}}\nmodels:\n{models}\n"
    flow.source.commit({"environments/staging.yaml": text.encode()})
    prober.long.add(1)
    with running(flow, parallel=2):
        eventually(lambda: len(prober.began) == len(names))
        prober.over.set()
        eventually(lambda: len(flow.journal.verified()) == len(names))


def test_what_one_slot_raises_stays_in_that_slot(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    flow.pin(staging=2, production=1)
    resolve = flow.registry.resolve

    def broken(found: object, environment: str | None = None) -> object:
        if environment == "staging":
            raise OverflowError("int too large to convert to float")
        return resolve(found, environment)  # type: ignore[arg-type]

    monkeypatch.setattr(flow.registry, "resolve", broken)
    with running(flow) as work:
        flow.target.die(live(flow, PRODUCTION))
        eventually(lambda: flow.serving()["production"] == 1)
        eventually(lambda: work.states() == {"staging": "unknown", "production": "in sync"})
        eventually(lambda: "int too large" in work.reasons()["staging"])


def test_a_server_that_ends_again_and_again_is_degraded_said_once_and_pauses_between(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.reconciler.controller.CRASH_BACKOFF", Backoff(first=0.01, longest=0.1))
    with running(flow) as work:
        for died in range(3):
            eventually(lambda died=died: work.states().get("staging") == "in sync" and len(healed(flow)) == died)  # type: ignore[misc]
            flow.target.die(live(flow, STAGING))
            work.controller.wake()
        eventually(lambda: work.states()["staging"] == "degraded")
    assert [d.state for d in healed(flow)] == [Outcome.LIVE] * 3
    assert all(d.draft.down_since is not None for d in healed(flow))
    degraded = [title for title in notified(flow) if "degraded" in title]
    assert degraded == ["churn-model v1 in staging is degraded: it ended 3 times within 10 minutes"]
