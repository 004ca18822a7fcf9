"""Two servers, one port, and the connections between: driven over the control socket alone."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.lifecycle.control import ControlError, ask
from tests.support.running_server import Running, running_server
from tests.support.waiting import eventually

GET = b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


@pytest.fixture
def pair(tmp_path: Path, listening: socket.socket) -> Iterator[tuple[Running, Running]]:
    """Version 1 is live, version 2 a candidate."""
    with running_server(tmp_path, 1) as old, running_server(tmp_path, 2) as new:
        old.command("take", fds=(listening.fileno(),))
        yield old, new


@contextlib.contextmanager
def client(listening: socket.socket) -> Iterator[socket.socket]:
    with socket.create_connection(listening.getsockname(), timeout=5) as connection:
        yield connection


def receive(connection: socket.socket) -> bytes:
    """One answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        assert more, f"cut off after {received!r}"
        received += more
    head, body = received.split(b"\r\n\r\n", 1)
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head.lower() + b"\r\n\r\n" + body


def version(answer: bytes) -> int:
    return int(answer.split(b'"version": ')[1].split(b",")[0])


def hand_over(old: Running, new: Running, listening: socket.socket) -> None:
    new.command("take", fds=(listening.fileno(),))
    old.command("stand-by", to=str(new.control))


def test_a_candidate_answers_on_a_private_loopback_port(tmp_path: Path) -> None:
    with running_server(tmp_path, 1) as server:
        status = server.command("status")
        assert (status["role"], status["port"], status["pid"]) == ("candidate", None, server.process.pid)
        host, port = status["private_url"].removeprefix("http://").split(":")
        assert host == "127.0.0.1"
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(GET)
            assert version(receive(connection)) == 1


def test_a_connection_survives_many_moves(pair: tuple[Running, Running], listening: socket.socket) -> None:
    servers = pair
    with client(listening) as connection:
        for swap in range(10):
            connection.sendall(GET)
            answer = receive(connection)
            assert version(answer) == swap % 2 + 1
            assert b"connection: close" not in answer
            hand_over(servers[swap % 2], servers[(swap + 1) % 2], listening)


def test_more_connections_than_fit_into_one_message_all_move(
    pair: tuple[Running, Running], listening: socket.socket
) -> None:
    old, new = pair
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(listening)) for _ in range(250)]
        for connection in clients:
            connection.sendall(GET)
            assert version(receive(connection)) == 1
        hand_over(old, new, listening)
        assert old.command("status")["open"] == 0
        for connection in clients:
            connection.sendall(GET)
        assert {version(receive(connection)) for connection in clients} == {2}


def test_pipelined_requests_are_all_answered_the_last_with_close(
    pair: tuple[Running, Running], listening: socket.socket
) -> None:
    old, new = pair
    with client(listening) as connection:
        connection.sendall(GET.replace(b"/health", b"/sleep") + GET)
        eventually(lambda: old.command("status")["in_flight"] == 1)
        hand_over(old, new, listening)
        answers = b""
        while more := connection.recv(65536):
            answers += more
        assert answers.count(b"HTTP/1.1 200") == 2
        assert answers.lower().count(b"connection: close") == 1


def test_without_a_successor_idle_connections_stay_and_their_next_answer_is_the_last(
    pair: tuple[Running, Running], listening: socket.socket
) -> None:
    old, _ = pair
    with client(listening) as connection:
        connection.sendall(GET)
        receive(connection)
        old.command("stand-by")
        assert old.command("status")["open"] == 1, "idle is no reason to be cut"
        connection.sendall(GET)
        answer = receive(connection)
        assert version(answer) == 1
        assert b"connection: close" in answer
        assert connection.recv(1) == b""


def test_a_successor_that_dies_before_it_adopts_leaves_connections_where_they_are(
    pair: tuple[Running, Running], listening: socket.socket
) -> None:
    old, new = pair
    with client(listening) as connection:
        connection.sendall(GET)
        receive(connection)
        new.command("take", fds=(listening.fileno(),))
        new.process.kill()
        new.process.wait(5)
        old.command("stand-by", to=str(new.control))
        old.command("take")
        connection.sendall(GET)
        assert version(receive(connection)) == 1


def test_connections_are_adopted_only_by_a_live_server(pair: tuple[Running, Running]) -> None:
    _, new = pair
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(ControlError, match="only a live one"):
            new.command("adopt", fds=(theirs.fileno(),))
        theirs.close()
        assert ours.recv(1) == b"", "the refused server keeps no copy"


def test_a_standby_keeps_the_port_open_so_that_nobody_is_refused(
    pair: tuple[Running, Running], listening: socket.socket
) -> None:
    old, _ = pair
    old.command("stand-by")
    address = listening.getsockname()
    listening.close()
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(GET)
        old.command("take")
        assert version(receive(connection)) == 1


def test_the_listening_socket_can_be_had_back(pair: tuple[Running, Running], listening: socket.socket) -> None:
    old, new = pair
    _, fds = ask(old.control, {"do": "give"})
    with socket.socket(fileno=fds[0]) as copy:
        assert copy.getsockname() == listening.getsockname()
    with pytest.raises(ControlError, match="never had"):
        new.command("give")


def test_a_server_without_a_listening_socket_cannot_take(pair: tuple[Running, Running]) -> None:
    with pytest.raises(ControlError, match="pass the listening socket"):
        pair[1].command("take")


def test_an_unknown_order_is_refused_with_those_that_are_known(pair: tuple[Running, Running]) -> None:
    with pytest.raises(ControlError, match="stand-by"):
        pair[0].command("explode")


def test_asked_to_exit_it_frees_the_port_at_once_and_waits_for_the_last_answer(
    pair: tuple[Running, Running], listening: socket.socket
) -> None:
    old, _ = pair
    address = listening.getsockname()
    listening.close()
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(GET.replace(b"/health", b"/sleep"))
        eventually(lambda: old.command("status")["in_flight"] == 1)
        old.command("exit")
        eventually(lambda: old.command("status")["port"] is None)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
        assert b"connection: close" in receive(connection)
    assert old.process.wait(5) == 0
    assert not old.control.exists()


def test_sigterm_ends_it_tidily(pair: tuple[Running, Running]) -> None:
    _, new = pair
    os.kill(new.process.pid, signal.SIGTERM)
    assert new.process.wait(5) == 0
    assert not new.control.exists()
