"""Traffic over real processes: what clients notice of a swap, which is nothing."""

import contextlib
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.core.errors import Rejected
from receiver.core.state import Role
from receiver.targets.process.target import ProcessTarget
from serving.lifecycle.control import ask
from tests.contracts.target import asked_version, occupied, spec
from tests.support import tiny_server
from tests.support.keepalive import Load, load
from tests.support.ports import free_port
from tests.support.process_target import (
    cleaned_up,
    is_running,
    pid_of,
    process_target,
    send_signal,
)
from tests.support.waiting import eventually

SWAPS = 20
CONNECTIONS = 16


@contextlib.contextmanager
def kept_alive(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.connect()
    with contextlib.closing(connection):
        yield connection


def answer(connection: http.client.HTTPConnection, path: str = "/health") -> tuple[int, str | None]:
    """The version that answers, and the Connection header."""
    connection.request("GET", path)
    response = connection.getresponse()
    return int(json.loads(response.read())["version"]), response.headers["connection"]


def wrong_versions(seen: Load, switches: list[tuple[float, float, int]]) -> list[str]:
    """Answers of a version that was not live at any moment between question and answer."""
    wrong = []
    for given in seen.answers:
        allowed = {version for began, _, version in switches if given.sent <= began <= given.received}
        before = [s for s in switches if s[0] < given.sent]
        allowed |= {s[2] for s in before[-1:]}
        if before and before[-1][1] > given.sent:  # asked while that switch was under way
            allowed |= {s[2] for s in before[-2:]}
        allowed |= {s[2] for s in switches if s[0] < given.received and s[1] > given.sent}
        if given.version not in allowed:
            wrong.append(f"asked at {given.sent:.4f}, answered by v{given.version}, expected {allowed}")
    return wrong


def test_swaps_back_and_forth_fail_no_request_and_no_late_answer_comes_from_the_old_version(
    target: ProcessTarget,
) -> None:
    port = free_port()
    servers = [target.start(spec(version, port)) for version in (1, 2)]
    target.switch(servers[0])
    switches = [(0.0, 0.0, 1)]
    with load(port, CONNECTIONS) as seen:
        eventually(lambda: len(seen.answers) > 200)
        for swap in range(1, SWAPS + 1):
            server = servers[swap % 2]
            began, so_far = time.monotonic(), len(seen.answers)
            target.switch(server)
            switches.append((began, time.monotonic(), server.spec.version))
            eventually(lambda so_far=so_far: len(seen.answers) > so_far + 200)
    assert seen.failures == []
    assert wrong_versions(seen, switches) == []


def test_new_servers_each_time_under_load_lose_nothing_either(target: ProcessTarget) -> None:
    port = free_port()
    old = target.start(spec(1, port))
    target.switch(old)
    with load(port, CONNECTIONS) as seen:
        for version in (2, 3, 4):
            new = target.start(spec(version, port))
            target.switch(new)
            target.retire(old)
            old = new
    assert seen.failures == []
    assert {given.version for given in seen.answers} == {1, 2, 3, 4}


def test_an_idle_connection_moves_to_the_new_server_and_stays_open(target: ProcessTarget) -> None:
    port = free_port()
    old, new = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(old)
    with kept_alive(port) as used, kept_alive(port) as unused:
        assert answer(used) == (1, None)
        target.switch(new)
        target.retire(old)
        assert list(target.observe()) != []
        assert answer(used) == (2, None)
        assert answer(unused) == (2, None)


def test_a_retired_server_ends_at_once_because_its_idle_connections_moved(state: Path, target: ProcessTarget) -> None:
    port = free_port()
    old, new = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(old)
    with kept_alive(port) as connection:
        assert answer(connection) == (1, None)
        target.switch(new)
        target.retire(old)
        assert not is_running(state, old)


def test_a_request_in_flight_is_answered_by_who_has_it_and_asked_to_close(target: ProcessTarget) -> None:
    port = free_port()
    old, new = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(old)
    with kept_alive(port) as connection:
        connection.request("GET", "/sleep")
        eventually(lambda: ask(target._records.get(old.id).control, {"do": "status"})[0]["in_flight"])
        began = time.monotonic()
        target.switch(new)
        assert time.monotonic() - began > 0.1, "the switch waits for what is in flight"
        response = connection.getresponse()
        assert (json.loads(response.read())["version"], response.headers["connection"]) == (1, "close")


def test_half_a_request_at_the_swap_is_answered_all_the_same(state: Path, target: ProcessTarget) -> None:
    port = free_port()
    old, new = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(old)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHo")
        eventually(lambda: ask(target._records.get(old.id).control, {"do": "status"})[0]["open"] == 1)
        with kept_alive(port) as other:
            assert answer(other) == (1, None)  # so the old server has read the half by now
        target.switch(new)
        target.retire(old)
        assert is_running(state, old), "it waits for the other half"
        connection.sendall(b"st: test\r\n\r\n")
        received = b""
        while more := connection.recv(65536):
            received += more
        assert b"connection: close" in received
        assert b'"version": 1' in received
    eventually(lambda: not is_running(state, old))


def test_a_live_server_that_is_killed_leaves_callers_waiting_for_the_standby_not_refused(
    state: Path, target: ProcessTarget
) -> None:
    port = free_port()
    old, new = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(old)
    target.switch(new)
    send_signal(state, new, signal.SIGKILL)
    with kept_alive(port) as connection:  # not refused: the standby keeps the port
        connection.request("GET", "/health")
        target.switch(old)
        assert json.loads(connection.getresponse().read())["version"] == 1
    assert "SIGKILL" in target.log_tail(new)


def test_traffic_moves_even_if_the_new_server_dies_while_clients_ask(state: Path, target: ProcessTarget) -> None:
    port = free_port()
    old, new = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(old)
    with load(port, 4) as seen:
        eventually(lambda: len(seen.answers) > 20)
        target.switch(new)
        eventually(lambda: seen.answers[-1].version == 2)
        send_signal(state, new, signal.SIGKILL)
        target.switch(old)
        eventually(lambda: seen.answers[-1].version == 1)
    assert len(seen.failures) <= 4, "only what the killed server held may be lost"
    assert not any("Refused" in failure for failure in seen.failures)


def test_a_live_server_that_hangs_is_replaced_and_killed(state: Path, target: ProcessTarget) -> None:
    port = free_port()
    old = target.start(spec(1, port))
    target.switch(old)
    send_signal(state, old, signal.SIGSTOP)
    began = time.monotonic()
    assert list(target.observe()) == [], "a server that hangs does not answer"
    assert time.monotonic() - began < 3
    new = target.start(spec(2, port))
    target.switch(new)
    assert asked_version(port) == 2
    assert not is_running(state, old)


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "retired"])
def test_what_a_server_started_ends_with_it_and_keeps_neither_port_nor_record(
    state: Path, target: ProcessTarget, killed: bool
) -> None:
    port = free_port()
    server = target.start(spec(tiny_server.FORKS, port))
    target.switch(server)
    with kept_alive(port) as connection:
        connection.request("POST", "/predict", "[{}]")
        connection.getresponse().read()
    if killed:
        os.kill(pid_of(state, server), signal.SIGKILL)
    else:
        target.retire(server)
    eventually(lambda: target.observe() == [] and list((state / "servers").iterdir()) == [])
    new = target.start(spec(2, port))
    target.switch(new)
    assert asked_version(port) == 2


def test_a_switch_that_was_cut_short_shows_the_old_server_live_and_can_be_done_again(
    target: ProcessTarget,
) -> None:
    port = free_port()
    old, new = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(old)
    target._ports.take([target._discovery.ask(target._records.get(new.id))])
    assert {s.id: s.role for s in target.observe()} == {old.id: Role.LIVE, new.id: Role.CANDIDATE}
    target.switch(new)
    assert {s.id: s.role for s in target.observe()} == {old.id: Role.STANDBY, new.id: Role.LIVE}
    assert {asked_version(port) for _ in range(20)} == {2}


def test_a_switch_that_was_cut_short_can_be_given_up(target: ProcessTarget) -> None:
    port = free_port()
    old, new = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(old)
    target._ports.take([target._discovery.ask(target._records.get(new.id))])
    target.retire(new)
    assert {asked_version(port) for _ in range(20)} == {1}


def test_the_other_program_on_the_port_is_left_alone_and_named(target: ProcessTarget) -> None:
    port = free_port()
    server = target.start(spec(1, port))
    with occupied(port) as other:
        with pytest.raises(Rejected) as caught:
            target.switch(server)
        assert other.fileno() > 0
    assert f"port {port} on 127.0.0.1 is taken by a program that Pinrail did not start" in str(caught.value)
    assert "models.churn-model.port in environments/staging.yaml" in str(caught.value)


def test_a_candidate_that_exits_at_once_is_rejected_with_its_status_and_last_lines(
    state: Path, target: ProcessTarget
) -> None:
    began = time.monotonic()
    with pytest.raises(Rejected) as caught:
        target.start(spec(tiny_server.EXITS_AT_ONCE, free_port()))
    assert time.monotonic() - began < 5
    assert "ended with exit status 3" in str(caught.value)
    assert "there is no such model" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert list((state / "servers").iterdir()) == []


@pytest.mark.parametrize("version", [tiny_server.HANGS_WHILE_LOADING, tiny_server.SICK])
def test_a_candidate_that_never_becomes_healthy_is_killed_at_the_deadline(state: Path, version: int) -> None:
    impatient = process_target(state, start_seconds=1.5)
    with pytest.raises(Rejected, match=r"was not healthy 1\.5 s after its start, and was killed"):
        impatient.start(spec(version, free_port()))
    assert list((state / "servers").iterdir()) == []


def test_a_slow_model_has_its_time(target: ProcessTarget) -> None:
    server = target.start(spec(tiny_server.LOADS_SLOWLY, free_port()))
    assert server.role is Role.CANDIDATE


def test_sigterm_answers_what_is_in_flight_and_ends(state: Path, target: ProcessTarget) -> None:
    port = free_port()
    server = target.start(spec(1, port))
    target.switch(server)
    with kept_alive(port) as connection:
        connection.request("GET", "/sleep")
        eventually(lambda: ask(target._records.get(server.id).control, {"do": "status"})[0]["in_flight"])
        send_signal(state, server, signal.SIGTERM)
        assert json.loads(connection.getresponse().read())["version"] == 1
    eventually(lambda: not is_running(state, server))
    assert "exit status 0" in target.log_tail(server)


def test_model_servers_see_no_secrets(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "PINRAIL_WEBHOOK_SECRET", "NGROK_AUTHTOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "sentinel")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "DATABRICKS_TOKEN", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "sentinel")
    target = process_target(state)
    server = target.start(spec(1, free_port()))
    with kept_alive(int(server.urls[0].rsplit(":", 1)[1])) as connection:
        connection.request("GET", "/environ")
        environment = json.loads(connection.getresponse().read())
    assert "sentinel" not in environment.values()
    assert "PATH" in environment


def test_a_server_inherits_nothing_but_its_lock_and_its_log(state: Path, target: ProcessTarget) -> None:
    with (state / "a-database").open("w") as file:
        file.write("x")
        server = target.start(spec(1, free_port()))
        descriptors = Path(f"/proc/{pid_of(state, server)}/fd")
        if not descriptors.exists():
            pytest.skip("no /proc on this system")
        held = {link.readlink() for link in descriptors.iterdir()}
    files = {path.relative_to(state).suffix for path in held if path.is_relative_to(state)}
    assert files == {".log", ".jsonl"}


def test_a_state_directory_of_any_length_works(tmp_path: Path) -> None:
    with cleaned_up(tmp_path / ("a-long-name" * 12) / "another") as state:
        target = process_target(state)
        port = free_port()
        old, new = target.start(spec(1, port)), target.start(spec(2, port))
        target.switch(old)
        with kept_alive(port) as connection:
            assert answer(connection) == (1, None)
            target.switch(new)
            assert answer(connection) == (2, None)
