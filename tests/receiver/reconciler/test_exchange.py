"""Pins that exchange their ports in one commit: with versions that are live already or new, and in chains."""

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from receiver.core.deployment import Outcome
from receiver.core.errors import Interrupted, Retryable
from receiver.core.port_moves import exchanges
from receiver.core.quarantine import Freeze
from receiver.core.state import Role, Server, Slot
from receiver.planning.assess import assess
from receiver.planning.observe import observe_head
from receiver.ports import never
from receiver.reconciler.exchange import WAIT_SECONDS, Exchange
from receiver.reconciler.interruptible import Interrupt
from receiver.targets.process.target import ProcessTarget
from tests.contracts.target import spec
from tests.support import tiny_server
from tests.support.callers import Caller
from tests.support.fake_target import FakeTarget
from tests.support.flow import MODEL, Flow
from tests.support.ports import free_port
from tests.support.process_target import cleaned_up
from tests.support.running_controller import Running, running
from tests.support.waiting import eventually

STAGING, PRODUCTION = Slot("staging", MODEL), Slot("production", MODEL)
A, B, C, D = (Slot("staging", name) for name in "abcd")


def files(pins: Mapping[str, tuple[int, int]]) -> dict[str, bytes]:
    """Environment files, of which none follows another, with (version, port) each."""
    return {
        f"environments/{name}.yaml": (
            f"environment: {name}\nregistry: {{stage: {name.title()}, alias: {name}}}\n"
            f"gate: {{accuracy: {{min: 0.8}}}}\nmodels:\n  {MODEL}: {{version: {version}, port: {port}}}\n"
        ).encode()
        for name, (version, port) in pins.items()
    }


def at(flow: Flow, *ports: int) -> list[tuple[str, int] | None]:
    """Who is live on these ports: environment and version."""
    live = {
        s.spec.port: (s.spec.slot.environment, s.spec.version) for s in flow.target.observe() if s.role is Role.LIVE
    }
    return [live.get(port) for port in ports]


def leftovers(flow: Flow) -> list[Role]:
    return [server.role for server in flow.target.observe() if server.role is not Role.LIVE]


def notified(flow: Flow) -> list[str]:
    rows = flow.database.connection().execute("SELECT body FROM outbox WHERE channel = 'notify' ORDER BY id")
    return [json.loads(row["body"])["title"] for row in rows]


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    """Version 1 is live in staging on 8000 and in production on 8001."""
    flow = Flow(tmp_path)
    flow.register(1, 2, 3)
    flow.source.commit(files({"staging": (1, 8000), "production": (1, 8001)}))
    flow.run()
    return flow


@contextmanager
def at_work(flow: Flow, pins: Mapping[str, tuple[int, int]]) -> Iterator[Running]:
    flow.source.commit(files(pins))
    with running(flow) as work:
        yield work


def test_moves_form_chains_and_cycles_and_wait_for_who_stays() -> None:
    assert exchanges({A: B, B: A}) == [frozenset({A, B})]
    assert exchanges({A: B, B: C, C: D, D: A}) == [frozenset({A, B, C, D})]
    assert exchanges({A: B, B: C, C: None}) == [frozenset({A, B, C})]
    assert exchanges({A: B, B: None, C: D, D: None}) == [frozenset({A, B}), frozenset({C, D})]
    assert exchanges({A: B, B: C}) == []
    assert exchanges({A: None, B: None}) == []


@pytest.mark.parametrize("versions", [(1, 1), (2, 1), (2, 3)])
def test_two_pins_exchange_their_ports_without_an_alarm(flow: Flow, versions: tuple[int, int]) -> None:
    staging, production = versions
    before = len(notified(flow))
    with at_work(flow, {"staging": (staging, 8001), "production": (production, 8000)}) as work:
        eventually(lambda: at(flow, 8000, 8001) == [("production", production), ("staging", staging)])
        eventually(lambda: work.states() == {"staging": "in sync", "production": "in sync"})
    assert leftovers(flow) == []
    for slot, version in ((STAGING, staging), (PRODUCTION, production)):
        assert flow.journal.verified()[slot].version == version
        # What one deployment left in the registry for the other is drift, whose correction may still be under way.
        assert {d.state for d in flow.journal.history(slot)} <= {Outcome.LIVE, Outcome.INTERRUPTED}
    assert not [title for title in notified(flow)[before:] if "fail" in title or "human" in title]
    assert flow.journal.quarantined() == []


def test_a_port_that_one_leaves_is_taken_by_another_in_the_same_step(flow: Flow) -> None:
    with at_work(flow, {"staging": (1, 8001), "production": (1, 8002)}) as work:
        eventually(lambda: at(flow, 8000, 8001, 8002) == [None, ("staging", 1), ("production", 1)])
        eventually(lambda: work.states() == {"staging": "in sync", "production": "in sync"})
    assert leftovers(flow) == []


def test_where_one_cannot_be_proven_nobody_moves_and_all_serve(flow: Flow) -> None:
    flow.prober.failing_smoke.add(2)
    with at_work(flow, {"staging": (2, 8001), "production": (1, 8000)}) as work:
        eventually(flow.journal.quarantined)
        eventually(lambda: work.states()["staging"] == "rolled-back" and leftovers(flow) == [])
        eventually(lambda: "staging" in waiting(work, "production"))
        assert "v2 answered 500" in waiting(work, "production")
        assert at(flow, 8000, 8001) == [("staging", 1), ("production", 1)]
        flow.prober.failing_smoke.clear()
        flow.source.commit(files({"staging": (3, 8001), "production": (1, 8000)}))
        work.queue.enqueue("push")
        eventually(lambda: at(flow, 8000, 8001) == [("production", 1), ("staging", 3)])


def waiting(work: Running, environment: str) -> str:
    """What the status says that a slot waits for."""
    return " ".join(row.reason for row in work.status_board.report().slots if row.environment == environment)


def test_a_version_that_fails_after_the_exchange_gives_way_on_its_new_port(flow: Flow) -> None:
    flow.prober.slow_watch.add(2)
    with at_work(flow, {"staging": (2, 8001), "production": (1, 8000)}) as work:
        eventually(lambda: at(flow, 8000, 8001) == [("production", 1), ("staging", 1)])
        eventually(lambda: work.states() == {"staging": "rolled-back", "production": "in sync"})
    assert leftovers(flow) == []


def test_a_version_that_has_to_be_live_elsewhere_first_cannot_exchange_ports_and_the_status_says_so(
    flow: Flow,
) -> None:
    pinned = files({"staging": (2, 8001), "production": (2, 8000)})
    path = "environments/production.yaml"
    pinned[path] = pinned[path].replace(b"gate:", b"policy: {after: staging}\ngate:")
    flow.source.commit(pinned)
    with running(flow) as work:
        eventually(
            lambda: (
                waiting(work, "staging") == f"{PRODUCTION} has its port still, because {STAGING} comes first: "
                "pin the new version first, and exchange the ports after it"
            )
        )
        assert at(flow, 8000, 8001) == [("staging", 1), ("production", 1)]
        flow.source.commit({name: raw.replace(b"version: 2", b"version: 1") for name, raw in pinned.items()})
        work.queue.enqueue("push")
        eventually(lambda: at(flow, 8000, 8001) == [("production", 1), ("staging", 1)])


def test_a_held_slot_keeps_its_port_and_who_wants_it_waits(flow: Flow) -> None:
    flow.journal.freeze(Freeze("staging", MODEL, "an audit", time.time()))
    with at_work(flow, {"staging": (1, 8001), "production": (1, 8000)}) as work:
        eventually(lambda: "an audit" in waiting(work, "production"))
        assert at(flow, 8000, 8001) == [("staging", 1), ("production", 1)]
        flow.journal.unfreeze("staging", MODEL)
        eventually(lambda: at(flow, 8000, 8001) == [("production", 1), ("staging", 1)])


def test_a_plan_says_with_whom_a_port_is_exchanged_and_from_whom_it_is_taken(flow: Flow) -> None:
    flow.source.commit(files({"staging": (1, 8001), "production": (1, 8000)}))
    said = [str(a) for a in assess(flow.services, observe_head(flow.services), STAGING).actions]
    assert f"switch {MODEL}: v1 -> v1, exchanges ports with {PRODUCTION}" in said
    flow.source.commit(files({"staging": (1, 8001), "production": (1, 8002)}))
    said = [str(a) for a in assess(flow.services, observe_head(flow.services), STAGING).actions]
    assert f"switch {MODEL}: v1 -> v1, takes port 8001 from {PRODUCTION}, which goes to 8002" in said


@pytest.mark.parametrize("left", [Role.STANDBY, Role.LIVE])
def test_a_step_that_was_cut_short_comes_to_its_end(flow: Flow, left: Role) -> None:
    moved = {"staging": (2, 8001), "production": (1, 8000)}
    flow.source.commit(files(moved))
    flow.run()  # fetches and judges, and lets both wait
    target = flow.target
    old = {s.spec.slot: s for s in target.observe()}
    verified = flow.journal.verified()[PRODUCTION]
    assert verified.digest is not None
    for server in old.values():  # as after a kill between the old servers' leave and the new ones' arrival
        target.drain(server)
    if left is Role.LIVE:
        target.switch(old[STAGING])
    with running(flow):
        eventually(lambda: at(flow, 8000, 8001) == [("production", 1), ("staging", 2)])
        eventually(lambda: leftovers(flow) == [])


@pytest.mark.timeout(120)
def test_callers_of_both_ports_are_answered_throughout_and_by_one_after_the_other(tmp_path: Path) -> None:
    flow = Flow(tmp_path)
    flow.register(1, 2)
    here, there = free_port(), free_port()
    with cleaned_up(tmp_path / "state") as state:
        target = ProcessTarget(state, command=(sys.executable, "-P", str(tiny_server.__file__)), start_seconds=30)
        object.__setattr__(flow.services, "target", target)
        flow.source.commit(files({"staging": (1, here), "production": (1, there)}))
        with running(flow) as work, Caller(here) as first, Caller(there) as second:
            eventually(lambda: work.states() == {"staging": "in sync", "production": "in sync"}, 30)
            first.failures.clear()
            second.failures.clear()
            first.answers.clear()
            second.answers.clear()
            flow.source.commit(files({"staging": (2, there), "production": (1, here)}))
            work.queue.enqueue("push")
            eventually(lambda: "production" in first.said() and "staging" in second.said(), 30)
            eventually(lambda: work.states() == {"staging": "in sync", "production": "in sync"}, 30)
        assert (first.said(), second.said()) == (["staging", "production"], ["production", "staging"])
        assert first.failures == second.failures == []
        assert max(first.longest_silence(), second.longest_silence()) < 2.0


def test_who_comes_back_to_its_free_port_does_so_before_ports_are_exchanged(flow: Flow) -> None:
    """As after a kill when one old server had stopped to accept and the other had not."""
    target, asked = flow.target, list[list[int]]()
    exchange = target.exchange

    def noted(servers: Sequence[Server]) -> None:
        asked.append([server.spec.port for server in servers])
        exchange(servers)

    target.exchange = noted  # type: ignore[method-assign]
    target.drain(next(server for server in target.observe() if server.spec.slot == STAGING))
    with at_work(flow, {"staging": (1, 8001), "production": (1, 8000)}):
        eventually(lambda: at(flow, 8000, 8001) == [("production", 1), ("staging", 1)])
    assert [sorted(ports) for ports in asked] == [[8000, 8001]]


def test_nobody_gives_way_while_the_step_is_made() -> None:
    target, inside, go_on = FakeTarget(), threading.Event(), threading.Event()
    servers = [target.start(spec(1, 8001)), target.start(spec(2, 8000, PRODUCTION))]
    make = target.exchange

    def exchange(servers: Sequence[Server]) -> None:
        inside.set()
        go_on.wait(10)
        make(servers)

    target.exchange = exchange  # type: ignore[method-assign]
    step = Exchange(target, {server.spec.slot: server.spec.port for server in servers})
    interrupt, ended = Interrupt(), list[str]()

    def member(server: Server) -> None:
        try:
            step.switch(server, interrupt.check)
            ended.append("switched")
        except Interrupted as error:
            ended.append(str(error))

    threads = [threading.Thread(target=member, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    interrupt.request("a newer commit")
    threads[0].join(5 * WAIT_SECONDS)
    threads[1].join(5 * WAIT_SECONDS)
    assert ended == []
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert ended == ["switched", "switched"]


def test_who_gives_way_before_the_step_has_nobody_move_at_once() -> None:
    step = Exchange(FakeTarget(), {STAGING: 8001, PRODUCTION: 8000})
    interrupt = Interrupt()
    interrupt.request("a newer commit")
    with pytest.raises(Interrupted, match="a newer commit"):
        step.prepared(STAGING, interrupt.check)
    with pytest.raises(Retryable, match="a newer commit"):
        step.prepared(PRODUCTION, never)


def test_who_is_left_alone_after_all_were_proven_takes_its_version_back_out_of_the_registry(flow: Flow) -> None:
    registry, go_on = flow.registry, threading.Event()
    write = registry.set_alias

    def set_alias(model: str, alias: str, version: int | None) -> None:
        if alias == "staging":
            go_on.wait(20)
        write(model, alias, version)

    registry.set_alias = set_alias  # type: ignore[method-assign]
    with at_work(flow, {"staging": (2, 8001), "production": (3, 8000)}) as work:
        eventually(lambda: flow.aliases().get("production") == 3)
        flow.journal.freeze(Freeze("staging", MODEL, "an audit", time.time()))
        eventually(lambda: flow.aliases()["production"] == 1)
        eventually(lambda: "an audit" in waiting(work, "production"))
        assert at(flow, 8000, 8001) == [("staging", 1), ("production", 1)]
        go_on.set()


def test_a_step_that_was_cut_short_comes_to_its_end_with_healing_off_too(flow: Flow) -> None:
    object.__setattr__(flow.services, "heal", False)
    for server in flow.target.observe():
        flow.target.drain(server)
    with at_work(flow, {"staging": (1, 8001), "production": (1, 8000)}):
        eventually(lambda: at(flow, 8000, 8001) == [("production", 1), ("staging", 1)])


def test_a_slot_whose_new_port_another_one_keeps_is_healed_on_the_port_that_it_had(flow: Flow) -> None:
    target = flow.target
    flow.journal.freeze(Freeze("production", MODEL, "an audit", time.time()))
    with at_work(flow, {"staging": (1, 8001), "production": (1, 8000)}) as work:
        eventually(lambda: "an audit" in waiting(work, "staging"))
        target.die(next(server for server in target.observe() if server.spec.slot == STAGING))
        eventually(lambda: at(flow, 8000, 8001) == [("staging", 1), ("production", 1)])
        eventually(lambda: "an audit" in waiting(work, "staging"))
        flow.journal.unfreeze("production", MODEL)
        eventually(lambda: at(flow, 8000, 8001) == [("production", 1), ("staging", 1)])
