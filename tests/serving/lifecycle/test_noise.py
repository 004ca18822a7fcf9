"""Whatever clients send to a model server, its log stays empty."""

import socket
from pathlib import Path

import pytest

from tests.support.running_server import running_server

GOOD = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_garbage_and_upgrades_leave_nothing_in_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running_server(tmp_path, 1) as server:
        host, port = str(server.command("status")["private_url"]).removeprefix("http://").split(":")
        for sent in (b"no HTTP\r\n\r\n", UPGRADE, GOOD + GOOD + b"\x00garbage\r\n\r\n"):
            for _ in range(5):
                with socket.create_connection((host, int(port)), timeout=10) as connection:
                    connection.sendall(sent)
                    connection.shutdown(socket.SHUT_WR)
                    answer = b"".join(iter(lambda: connection.recv(65536), b""))
                    assert answer.count(b"HTTP/1.1 200") == sent.count(b"GET")
    assert capfd.readouterr().err == ""
