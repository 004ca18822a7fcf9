"""What anybody may send to the public listener: good deliveries keep their answers, and the log stays short."""

import re
import socket
from pathlib import Path

import pytest

from tests.support.intake import intake_in_a_process, push, raw_request, read_all, running_intake, sign

GARBAGE = b"\x16\x03\x01 no HTTP\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n"


def delivery() -> bytes:
    body = push()
    signed = raw_request(body, b"X-Hub-Signature-256: " + sign(body).encode())
    return signed.replace(b"Connection: close\r\n", b"")


@pytest.mark.parametrize("deliveries", [1, 3])
def test_garbage_behind_deliveries_in_one_segment_takes_no_202_from_them(tmp_path: Path, deliveries: int) -> None:
    with running_intake(tmp_path) as intake:
        answers = intake.raw(b"".join(delivery() for _ in range(deliveries)) + GARBAGE)
        assert statuses(answers) == [202] * deliveries + [400]
        assert intake.count("deliveries") == deliveries


def test_strangers_cause_one_line_in_the_log_however_much_they_send(tmp_path: Path) -> None:
    with intake_in_a_process(tmp_path) as (_, port):
        for sent in [GARBAGE, UPGRADE, raw_request(b"{}")] * 30 + [delivery() + GARBAGE]:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(sent)
                assert 400 <= statuses(read_all(connection))[-1] < 500
    refused, stored = (tmp_path / "receiver.log").read_text().splitlines()
    assert "further refusals are not logged for a minute" in refused
    assert "main moved to" in stored


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", answers)]
