"""Several processes behind one port: what clients notice of swaps and of the end of one, and who gets which share."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.adapters import shell
from receiver.core.errors import Rejected, VersionFailed
from receiver.core.state import Role, Server, ServerSpec
from receiver.targets.process import public_ports
from receiver.targets.process.records import ServerRecords
from receiver.targets.process.target import ProcessTarget
from serving.lifecycle.control import ask
from tests.contracts.replicas import two
from tests.contracts.target import asked_version, spec
from tests.support import tiny_server
from tests.support.keepalive import load
from tests.support.ports import free_port
from tests.support.process_target import kill_replica, process_target
from tests.support.waiting import eventually

SWAPS = 10


@contextlib.contextmanager
def kept_alive(port: int, count: int) -> Iterator[list[http.client.HTTPConnection]]:
    with contextlib.ExitStack() as opened:
        connections = []
        for _ in range(count):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.connect()
            connections.append(opened.enter_context(contextlib.closing(connection)))
        yield connections


def answering(connections: list[http.client.HTTPConnection]) -> Counter[int]:
    """How many of these connections each replica answers."""
    found: Counter[int] = Counter()
    for connection in connections:
        connection.request("GET", "/health")
        found[json.loads(connection.getresponse().read())["replica"]] += 1
    return found


def open_connections(state: Path, server: Server) -> list[int]:
    """How many connections each replica of a server has."""
    return [ask(record.control, {"do": "status"})[0]["open"] for record in ServerRecords(state).of(server.id)]


def is_even(shares: Collection[int]) -> bool:
    return max(shares) - min(shares) <= 2


def of(spec: ServerSpec, replicas: int) -> ServerSpec:
    return replace(spec, replicas=replicas)


def live(target: ProcessTarget, wanted: ServerSpec) -> Server:
    server = target.start(wanted, at_once=4)
    target.switch(server)
    return server


def test_swaps_between_servers_of_two_replicas_fail_no_request(target: ProcessTarget) -> None:
    port = free_port()
    servers = [live(target, two(version, port)) for version in (1, 2)]
    with load(port, 16) as seen:
        for swap in range(SWAPS):
            server, so_far = servers[swap % 2], len(seen.answers)
            target.switch(server)
            switched = time.monotonic()
            eventually(lambda so_far=so_far: len(seen.answers) > so_far + 200)
            late = [a for a in seen.answers[so_far:] if a.sent > switched and a.version != server.spec.version]
            assert late == []
    assert seen.failures == []


def test_scaling_out_and_in_fails_no_request_and_spreads_open_connections(state: Path, target: ProcessTarget) -> None:
    port = free_port()
    server = live(target, spec(1, port))
    with load(port, 8) as seen, kept_alive(port, 9) as connections:
        assert answering(connections) == {1: 9}
        for replicas in (3, 2, 1):
            old, server = server, live(target, of(spec(1, port), replicas))
            target.retire(old)
            shares = open_connections(state, server)
            assert len(shares) == replicas
            assert min(shares) >= 1, "of 17, in whatever state each was"
            assert sum(answering(connections).values()) == 9
    assert seen.failures == []


def test_connections_are_shared_out_evenly_however_many_come_at_once(target: ProcessTarget) -> None:
    port = free_port()
    live(target, of(spec(1, port), 3))

    def shares() -> Counter[int]:
        with kept_alive(port, 12) as connections:
            return answering(connections)

    # On a busy machine one may get no processor while its turn lasts, and others take what is its.
    eventually(lambda: sorted(found := shares()) == [1, 2, 3] and is_even(found.values()))


def test_the_end_of_one_costs_only_what_it_held_and_its_successor_gets_its_share(
    state: Path, target: ProcessTarget
) -> None:
    port = free_port()
    server = live(target, two(1, port))
    with load(port, 8) as seen:
        eventually(lambda: len(seen.answers) > 100)
        kill_replica(state, server, 2)
        so_far = len(seen.answers)
        eventually(lambda: len(seen.answers) > so_far + 100)
        target.switch(target.start(server.spec))
        so_far = len(seen.answers)
        eventually(lambda: len(seen.answers) > so_far + 100)
    assert len(seen.failures) <= 5, "no more than the replica had connections"
    assert not any("Refused" in failure for failure in seen.failures)
    with kept_alive(port, 8) as connections:
        assert set(answering(connections)) == {1, 2}


def test_one_that_hangs_is_replaced_and_killed(state: Path, target: ProcessTarget) -> None:
    port = free_port()
    server = live(target, two(1, port))
    (record,) = (r for r in ServerRecords(state).of(server.id) if r.replica == 1)
    assert record.pid is not None
    os.kill(record.pid, signal.SIGSTOP)
    (left,) = target.observe()
    assert left.missing == "1 of 2 replicas"
    target.switch(target.start(server.spec))
    assert shell.has_ended(record.pid)
    (whole,) = target.observe()
    assert (whole.role, whole.missing, whole.differs) == (Role.LIVE, "", "")


def test_one_that_says_nothing_for_a_moment_is_left_to_answer_what_it_was_asked(
    state: Path, target: ProcessTarget
) -> None:
    server = live(target, two(1, free_port()))
    pids = {record.pid for record in ServerRecords(state).of(server.id)}
    (pid,) = (r.pid for r in ServerRecords(state).of(server.id) if r.replica == 1)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    (left,) = target.observe()
    assert left.missing == "1 of 2 replicas"
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(target.start, server.spec)
        with pytest.raises(TimeoutError):
            starting.result(2.5)
        os.kill(pid, signal.SIGCONT)
        assert starting.result(10).missing == ""
    assert {record.pid for record in ServerRecords(state).of(server.id)} == pids


def test_a_switch_that_was_cut_short_between_two_replicas_can_be_done_again_or_given_up(
    target: ProcessTarget,
) -> None:
    port = free_port()
    old, new = live(target, two(1, port)), target.start(two(2, port))
    target._ports.take([target._group(new.id).members[0]])
    assert {s.id: s.role for s in target.observe()} == {old.id: Role.LIVE, new.id: Role.CANDIDATE}
    target.switch(new)
    assert {s.id: (s.role, s.differs) for s in target.observe()} == {
        old.id: (Role.STANDBY, ""),
        new.id: (Role.LIVE, ""),
    }
    assert {asked_version(port) for _ in range(20)} == {2}


def test_a_replica_that_has_no_traffic_yet_is_shown(target: ProcessTarget) -> None:
    port = free_port()
    server = target.start(two(1, port))
    target._ports.take([target._group(server.id).members[0]])
    (found,) = target.observe()
    assert (found.role, found.differs) == (Role.LIVE, "1 of 2 replicas have traffic")


def test_where_one_cannot_take_the_port_all_let_go_of_it(state: Path, target: ProcessTarget) -> None:
    port = free_port()
    old, new = live(target, spec(1, port)), target.start(two(2, port))
    replicas = target._group(new.id).members
    kill_replica(state, new, 2)
    with pytest.raises(VersionFailed, match="could not take its port"):
        target._ports.take(replicas, target._live_among(ServerRecords(state).of(old.id)))
    assert {s.id: s.role for s in target.observe()} == {old.id: Role.LIVE, new.id: Role.STANDBY}
    assert {asked_version(port) for _ in range(20)} == {1}


def test_one_that_hangs_while_it_is_to_take_the_port_does_not_take_it_later(
    state: Path, target: ProcessTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_ports, "DRAIN_SECONDS", 0.5)
    port = free_port()
    old, new = live(target, spec(1, port)), target.start(two(2, port))
    replicas = target._group(new.id).members
    pid = replicas[1].record.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(Rejected, match="could not take its port"):
        target._ports.take(replicas, target._live_among(ServerRecords(state).of(old.id)))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    assert shell.has_ended(pid)
    assert {asked_version(port) for _ in range(20)} == {1}


def test_no_more_start_at_once_than_may(target: ProcessTarget) -> None:
    begun = time.monotonic()
    target.start(of(spec(tiny_server.LOADS_SLOWLY, free_port()), 2), at_once=2)
    together = time.monotonic() - begun
    target.start(of(spec(tiny_server.LOADS_SLOWLY, free_port()), 2), at_once=1)
    assert time.monotonic() - begun - together > 2, "each loads for a second"


def test_replicas_outlive_their_state_directory_and_are_adopted_as_one_server(
    state: Path, target: ProcessTarget
) -> None:
    port = free_port()
    server = live(target, two(1, port))
    shutil.rmtree(state / "servers")
    again = process_target(state)
    eventually(lambda: [len(found.urls) for found in again.observe()] == [2])
    (found,) = again.observe()
    assert (found.id, found.spec, found.role) == (server.id, server.spec, Role.LIVE)
    assert asked_version(port) == 1


@pytest.fixture
def limited(target: ProcessTarget) -> Iterator[ProcessTarget]:
    """A target that may set limits."""
    wanted = replace(spec(1, 8000), cpus=1.0)
    if refusal := target.refusal(wanted):
        pytest.skip(refusal)
    yield target
    for server in target.observe():
        target.retire(server)
    target._limits.remove(keep=[])
    for tree in target._limits._below():
        tree.rmdir()


def test_limits_beside_the_pin_hold_for_each_replica_and_its_threads_follow(limited: ProcessTarget) -> None:
    wanted = replace(two(1, free_port()), cpus=1.5, memory_mb=300)
    server = limited.start(wanted, at_once=2)
    assert limited.start(wanted).id == server.id
    with contextlib.closing(http.client.HTTPConnection(server.urls[0].removeprefix("http://"), timeout=5)) as asked:
        asked.request("GET", "/environ")
        environment = json.loads(asked.getresponse().read())
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ORT_NUM_THREADS")
    assert {environment[name] for name in threads} == {"1"}
    groups = {path.name for tree in limited._limits._below() for path in tree.iterdir() if path.is_dir()}
    assert groups == {f"{server.id}.1", f"{server.id}.2"}
    limited.retire(server)
    assert not any(path.is_dir() for tree in limited._limits._below() for path in tree.iterdir())


def test_a_server_that_runs_out_of_its_memory_is_said_to(limited: ProcessTarget) -> None:
    wanted = replace(spec(tiny_server.EATS_MEMORY, free_port()), memory_mb=150)
    with pytest.raises(VersionFailed, match="SIGKILL: out of memory, it needed more than the 150m of resources"):
        limited.start(wanted)


def test_how_a_replica_ended_by_itself_is_reported_once(state: Path, target: ProcessTarget) -> None:
    server = live(target, two(1, free_port()))
    target.observe()
    kill_replica(state, server, 2)
    assert f"{server.id}.2 was ended by SIGKILL" in target.how_ended(server.spec.slot)
    assert target.how_ended(server.spec.slot) == ""
    target.retire(server)
    assert target.how_ended(server.spec.slot) == "", "what was retired did not end by itself"


def test_two_replicas_of_a_server_that_answers_one_request_at_a_time_answer_nearly_twice_as_many(
    target: ProcessTarget,
) -> None:
    answered = {}
    for replicas in (1, 2):
        port = free_port()
        live(target, of(spec(1, port), replicas))
        with load(port, 12, "/hold") as seen:
            eventually(lambda seen=seen: len(seen.answers) > 20)
            before, began = len(seen.answers), time.monotonic()
            eventually(lambda began=began: time.monotonic() > began + 2)
            answered[replicas] = (len(seen.answers) - before) / (time.monotonic() - began)
        assert seen.failures == []
    assert answered[2] > 1.5 * answered[1], answered
