"""Servers outlive the receiver that started them, and the next one finds every one of them."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.core.state import Role
from receiver.targets.process.records import ServerRecords
from receiver.targets.process.target import ProcessTarget
from tests.contracts.target import asked_version, spec
from tests.support import doomed_receiver
from tests.support.keepalive import load
from tests.support.ports import free_port
from tests.support.process_target import is_running, pid_of, process_target, send_signal
from tests.support.waiting import eventually

ROOT = Path(doomed_receiver.__file__).parents[2]


@contextlib.contextmanager
def doomed(state: Path, port: int, first: int) -> Iterator[None]:
    """A receiver at work, killed at the end of the block."""
    command = [sys.executable, doomed_receiver.__file__, str(state), str(port), str(first)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as receiver:
        assert receiver.stdout is not None
        try:
            assert receiver.stdout.readline() == b"ready\n"
            yield
        finally:
            receiver.kill()


def running_below(state: Path) -> set[int]:
    """The processes whose command line names this state directory, as the system lists them."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(state / "servers").encode() in (directory / "cmdline").read_bytes():
                found[int(directory.name)] = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
    return {pid for pid, parent in found.items() if parent not in found}  # without who accepts for a server


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads /proc")
def test_whenever_the_receiver_is_killed_the_next_one_sees_every_server_that_runs(state: Path) -> None:
    port = free_port()
    target = process_target(state)
    for number, delay in enumerate((0.0, 0.004, 0.02, 0.06, 0.12, 0.3, 0.45, 0.7)):
        with doomed(state, port, 1 + 100 * number):
            started = time.monotonic()
            eventually(lambda started=started, delay=delay: time.monotonic() > started + delay)
        observed = {pid_of(state, server) for server in target.observe()}
        eventually(lambda observed=observed: running_below(state) <= observed)
        assert sum(server.role is Role.LIVE for server in target.observe()) <= 1
    last = target.start(spec(5000, port))
    target.switch(last)
    assert {asked_version(port) for _ in range(10)} == {5000}
    for server in target.observe():
        target.retire(server)
    eventually(lambda: running_below(state) == set())


def test_the_next_receiver_adopts_servers_with_their_port_and_their_connections(state: Path) -> None:
    port = free_port()
    with doomed(state, port, 1):
        eventually(lambda: (asked_version(port) or 0) >= 2)
    target = process_target(state)
    live = next(server for server in target.observe() if server.role is Role.LIVE)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/health")
        assert json.loads(connection.getresponse().read())["version"] == live.spec.version
        target.switch(target.start(spec(5000, port)))
        target.retire(live)
        connection.request("GET", "/health")
        assert json.loads(connection.getresponse().read())["version"] == 5000
    assert "an earlier receiver started it" in target.log_tail(live)


def test_servers_that_outlive_the_state_directory_are_adopted_without_a_failed_request(state: Path) -> None:
    port, other = free_port(), free_port()
    before = process_target(state)
    live, waiting = before.start(spec(1, port)), before.start(spec(2, other))
    before.switch(live)
    pid, candidate = pid_of(state, live), pid_of(state, waiting)
    shutil.rmtree(state)
    target = process_target(state)
    with load(port, 8) as seen:
        eventually(lambda: [s.id for s in target.observe() if s.role is Role.LIVE] == [live.id])
        found = next(server for server in target.observe() if server.role is Role.LIVE)
        assert (found.spec, pid_of(state, found)) == (live.spec, pid)
        assert target.start(spec(1, port)) == found
        eventually(lambda: len(target.observe()) == 2)
        target.retire(next(server for server in target.observe() if server.role is Role.CANDIDATE))
        target.switch(target.start(spec(3, port)))
        target.retire(found)
        eventually(lambda: seen.answers[-1].version == 3)
    assert seen.failures == []
    eventually(lambda: not {pid, candidate} & running_below(state))
    assert [server.spec.version for server in target.observe()] == [3]


def test_a_server_whose_adoption_was_cut_short_holds_its_new_record_all_the_same(state: Path) -> None:
    port = free_port()
    target = process_target(state)
    server = target.start(spec(1, port))
    target.switch(server)
    pid = pid_of(state, server)
    records = ServerRecords(state)
    (state / "servers" / f"{server.id}.jsonl").unlink()
    with records.recreate(state / "servers" / f"{server.id}.sock", server.spec):
        pass  # as after a kill between the new record and its lock
    assert not is_running(state, server)
    assert [found.id for found in process_target(state).observe()] == [server.id]
    assert is_running(state, server)
    send_signal(state, server, signal.SIGSTOP)
    target.switch(target.start(spec(2, port)))
    assert asked_version(port) == 2
    eventually(lambda: pid not in running_below(state))


def test_a_socket_that_a_dead_server_left_without_a_record_is_removed(state: Path) -> None:
    target = process_target(state)
    server = target.start(spec(1, free_port()))
    os.kill(pid_of(state, server), signal.SIGKILL)
    (state / "servers" / f"{server.id}.jsonl").unlink()
    eventually(lambda: target.observe() == [] and not list((state / "servers").iterdir()))


def test_a_second_target_returns_the_server_that_the_first_started(state: Path) -> None:
    port = free_port()
    first = process_target(state).start(spec(1, port))
    assert process_target(state).start(spec(1, port)) == first


def test_a_server_that_is_starting_is_seen_before_it_has_loaded(state: Path) -> None:
    target = process_target(state)
    record = target._spawn(spec(1, free_port()))
    assert [server.id for server in target.observe()] == [record.id]


def test_a_server_that_is_retired_while_it_loads_is_gone(state: Path) -> None:
    target = process_target(state)
    target._spawn(spec(905, free_port()))
    (server,) = target.observe()
    target.retire(server)
    assert not is_running(state, server)


def test_a_server_whose_process_id_was_never_noted_reports_it(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed_in_between:
        killed_in_between.setattr(ServerRecords, "note_pid", lambda _self, record, _pid: record)
        process_target(state)._spawn(spec(1, free_port()))
    target = process_target(state)
    (server,) = target.observe()
    assert pid_of(state, server) in running_below(state)
    target.retire(server)
    assert target.observe() == []


def test_a_record_of_a_server_that_never_started_is_dropped(state: Path) -> None:
    records = ServerRecords(state)
    with records.create(spec(1, free_port())) as (record, _lock):
        pass  # the receiver dies before it starts the server
    (records.directory / "torn.jsonl").write_text('{"spec": {"slo')
    assert process_target(state).observe() == []
    assert records.get(record.id) is None


def test_another_process_that_looks_while_a_server_is_started_does_not_lose_it(state: Path) -> None:
    records = ServerRecords(state)
    with records.create(spec(1, free_port())) as (record, _lock):
        assert records.alive(record)
        assert ServerRecords(state).get(record.id) is not None


def test_records_are_read_back_as_they_were_written(state: Path) -> None:
    records = ServerRecords(state)
    written = []
    for version in range(1, 20):
        with records.create(spec(version, 8000)) as (record, _lock):
            written.append(records.note_pid(record, version))
    assert sorted(records.all(), key=lambda r: r.spec.version) == written


def test_the_logs_of_ended_servers_are_kept_for_a_while_and_then_go(state: Path) -> None:
    target: ProcessTarget = process_target(state)
    for number in range(130):
        (state / "logs" / f"old-{number}.log").touch()
    server = target.start(spec(1, free_port()))
    logs = {path.name for path in (state / "logs").iterdir()}
    assert f"{server.id}.log" in logs
    assert len(logs) == 101
