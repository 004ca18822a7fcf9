"""The public listener as strangers meet it: a real server, and raw sockets where the bytes matter."""

import json
import logging
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.adapters.sqlite.queue import Queue
from receiver.adapters.sqlite.schema import create_or_require
from receiver.intake import server
from receiver.intake.app import Senders
from receiver.intake.github import Watched
from serving.http.body import BodyLimits
from tests.receiver.intake.test_mlflow import BODY as MLFLOW_BODY
from tests.receiver.intake.test_mlflow import SECRET as MLFLOW_SECRET_TEXT
from tests.receiver.intake.test_mlflow import signed as mlflow_signed
from tests.support.intake import (
    MLFLOW_SECRET,
    SECRET,
    Intake,
    github_headers,
    intake_in_a_process,
    push,
    raw_request,
    read_all,
    running_intake,
    sign,
    status_of,
)

GITHUB = "/webhooks/github"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    with running_intake(tmp_path_factory.mktemp("intake")) as intake:
        yield intake


@pytest.fixture
def intake(running: Intake) -> Intake:
    """One server for all tests here; each finds it empty."""
    with running.database.transaction() as db:
        db.execute("DELETE FROM deliveries")
        db.execute("DELETE FROM jobs")
    return running


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Intake]:
    """One that takes little and waits briefly."""
    limits = BodyLimits(body_bytes=1_000_000, body_seconds=0.5, budget_bytes=1_500_000, linger_bytes=8_000_000)
    with running_intake(tmp_path, limits) as running:
        yield running


def wait_until(condition: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.01)


def test_a_signed_push_is_stored_byte_for_byte_with_its_job_before_it_is_answered(intake: Intake) -> None:
    body = push()
    assert intake.deliver(body, delivery="d-1").status == 202
    row = intake.database.connection().execute("SELECT * FROM deliveries").fetchone()
    assert (row["id"], row["sender"], row["event"], row["body"], row["verdict"]) == (
        "d-1", "github", "push", body, "accepted",
    )  # fmt: skip
    job = intake.queue.claim()
    assert job is not None
    assert (row["job"], job.causes) == (job.id, ("push",))


def test_no_signature_is_401_and_nothing_is_stored(intake: Intake) -> None:
    answer = intake.raw(raw_request(push()))
    assert status_of(answer) == 401
    assert intake.count("deliveries") == intake.count("jobs") == 0


def test_a_secret_that_does_not_fit_is_logged_once_a_minute(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running_intake(tmp_path) as intake, caplog.at_level(logging.WARNING, "receiver.intake.app"):
        for _ in range(3):
            headers = github_headers(push()) | {"X-Hub-Signature-256": sign(push(), b"another secret")}
            assert intake.request(GITHUB, push(), headers).status == 401
    (record,) = caplog.records
    assert "does not fit PINRAIL_WEBHOOK_SECRET. If it was GitHub's" in record.getMessage()


def test_deliveries_of_another_repository_are_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = push(repository={"full_name": "new-owner/models"})
    with running_intake(tmp_path) as intake, caplog.at_level(logging.WARNING, "receiver.intake.app"):
        for _ in range(3):
            assert intake.request(GITHUB, body, github_headers(body)).status == 202
    (record,) = caplog.records
    assert "set PINRAIL_REPO_URL to the address of new-owner/models" in record.getMessage()


def test_every_wrong_signature_gets_the_same_401_which_does_not_reveal_the_right_one(intake: Intake) -> None:
    body = push()
    right = sign(body).encode()
    wrong = [
        [],
        [b"X-Hub-Signature-256: " + sign(body, b"another secret").encode()],
        [b"X-Hub-Signature-256: " + sign(body + b" ").encode()],
        [b"X-Hub-Signature: sha1=" + b"0" * 40],
        [b"X-Hub-Signature-256: sha256=\xe9"],
        [b"X-Hub-Signature-256: " + right, b"X-Hub-Signature-256: " + right],
        [b"X-Hub-Signature-256: " + right.removeprefix(b"sha256=")],
        [b"X-Hub-Signature-256: " + right + b", " + right],
        [b"X-Hub-Signature-256: " + right + b" "],
        [b"X-Hub-Signature-256: " + right + b"\xa0"],
    ]
    answers = [intake.raw(raw_request(body, *headers)) for headers in wrong]
    assert {status_of(answer) for answer in answers} == {401}
    assert len({answer.partition(b"\r\n\r\n")[2] for answer in answers}) == 1
    assert not any(right[7:] in answer for answer in answers)
    assert intake.count("deliveries") == 0


def test_only_sha1_is_401(intake: Intake) -> None:
    headers = github_headers(push())
    headers["X-Hub-Signature"] = headers.pop("X-Hub-Signature-256").replace("sha256", "sha1")
    assert intake.request(GITHUB, push(), headers).status == 401


def test_a_byte_that_is_no_ascii_in_the_signature_is_401_and_not_500(intake: Intake) -> None:
    assert status_of(intake.raw(raw_request(push(), b"X-Hub-Signature-256: sha256=\xe9"))) == 401


def test_a_signature_header_sent_twice_is_401(intake: Intake) -> None:
    line = b"X-Hub-Signature-256: " + sign(push()).encode()
    assert status_of(intake.raw(raw_request(push(), line, line))) == 401
    assert status_of(intake.raw(raw_request(push(), line))) == 202


@pytest.mark.parametrize("secrets", [(), (b"",), (b"old", b"")])
def test_an_empty_secret_refuses_to_start(secrets: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="secret is empty"):
        Senders(secrets, Watched("owner/models", "main"))
    assert "good" not in repr(Senders((b"good",), Watched("owner/models", "main"), b"good too"))


def test_more_than_25_mib_in_chunks_without_a_length_is_413_and_never_held_in_memory(intake: Intake) -> None:
    head = b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", intake.port), timeout=20) as connection:
        connection.sendall(head)
        for _ in range(26):
            connection.sendall(piece)
        assert b" 413 " in connection.recv(4096).partition(b"\r\n")[0]


def test_a_declared_length_over_the_cap_is_413_before_the_body(intake: Intake) -> None:
    for length in (25 * 1024 * 1024 + 1, 10**30):
        head = f"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", intake.port), timeout=20) as connection:
            connection.sendall(head)
            assert status_of(connection.recv(4096)) in {413, 400}


def test_a_body_of_just_the_cap_is_taken(impatient: Intake) -> None:
    body = push(padding="")
    body = body.replace(b'"padding": ""', b'"padding": "' + b"x" * (1_000_000 - len(body)) + b'"')
    assert len(body) == 1_000_000
    assert impatient.deliver(body).status == 202


def test_the_refusal_of_a_large_body_reaches_a_client_that_sends_all_of_it_first(impatient: Intake) -> None:
    body = b"x" * 4_000_000
    assert status_of(impatient.raw(raw_request(body))) == 413


def test_a_body_that_never_comes_is_408_at_the_deadline(impatient: Intake) -> None:
    began = time.monotonic()
    head = raw_request(b"", path=b"/webhooks/github").replace(b"Content-Length: 0", b"Content-Length: 100")
    assert status_of(impatient.raw(head + b"ab")) == 408
    assert 0.4 < time.monotonic() - began < 5


def test_a_body_that_drips_is_408_at_the_same_deadline(impatient: Intake) -> None:
    head = raw_request(b"").replace(b"Content-Length: 0", b"Content-Length: 1000")
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=0.05) as connection:
        connection.sendall(head)
        answer = b""
        deadline = time.monotonic() + 5
        while not answer and time.monotonic() < deadline:
            connection.sendall(b"a")
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                continue
        assert status_of(answer) == 408


def test_bodies_that_together_exceed_the_budget_are_503_and_the_rest_is_served(impatient: Intake) -> None:
    head = raw_request(b"").replace(b"Content-Length: 0", b"Content-Length: 999000")
    with (
        socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as one,
        socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as two,
    ):
        one.sendall(head + b"x" * 900_000)
        two.sendall(head + b"x" * 900_000)
        assert sorted(status_of(answer) for answer in (read_all(one), read_all(two))) == [408, 503]
    assert impatient.deliver(push()).status == 202


def test_a_connection_that_sends_no_request_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.PublicProtocol, "request_seconds", 0.3)
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.3)
    with running_intake(tmp_path) as intake:
        for sent in (b"", b"POST /webhooks/github HT", b"POST /webhooks/github HTTP/1.1\r\nX-A: b\r\n"):
            with socket.create_connection(("127.0.0.1", intake.port), timeout=10) as connection:
                connection.sendall(sent)
                assert _ends(connection)


def test_headers_without_end_are_cut_off(intake: Intake) -> None:
    with socket.create_connection(("127.0.0.1", intake.port), timeout=10) as connection:
        connection.sendall(b"POST /webhooks/github HTTP/1.1\r\n")
        with pytest.raises(OSError, match=r"reset|pipe"):
            _send_lines(connection, b"X-1: %s\r\n" % (b"y" * 1000), 100_000)


@pytest.mark.parametrize(
    ("begin", "line"), [(b"0\r\n", b"X-1: %s\r\n"), (b"0\r\nX-A: ", b"%s"), (b"1;", b"%s")],
    ids=["trailers", "one trailer", "extension"],
)  # fmt: skip
def test_what_is_no_body_is_cut_off_behind_the_head_too(intake: Intake, begin: bytes, line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", intake.port), timeout=10) as connection:
        connection.sendall(b"POST /webhooks/github HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + begin)
        with pytest.raises(OSError, match=r"reset|pipe"):
            _send_lines(connection, line % (b"y" * 1000), 10_000)
    assert intake.deliver(push()).status == 202


def _send_lines(connection: socket.socket, line: bytes, count: int) -> None:
    for _ in range(count):
        connection.sendall(line)


def test_a_large_body_in_small_chunks_is_no_flood(intake: Intake) -> None:
    body = push(padding="x" * 100_000)
    head = raw_request(b"", b"Transfer-Encoding: chunked", b"X-Hub-Signature-256: " + sign(body).encode())
    chunks = b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in _pieces(body, 50))
    assert status_of(intake.raw(head.replace(b"Content-Length: 0\r\n", b"") + chunks + b"0\r\nX-A: b\r\n\r\n")) == 202


def _pieces(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def test_who_is_refused_holds_no_connection_and_gets_no_second_answer(intake: Intake) -> None:
    unsigned = b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    answer = intake.raw(unsigned * 1000)
    assert answer.count(b"HTTP/1.1 401") == 1
    assert b"connection: close" in answer


def test_open_connections_are_capped_and_the_next_one_after_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.PublicProtocol, "connections_max", 5)
    with running_intake(tmp_path) as intake:
        held = [socket.create_connection(("127.0.0.1", intake.port), timeout=10) for _ in range(5)]
        with socket.create_connection(("127.0.0.1", intake.port), timeout=10) as one_too_many:
            assert _ends(one_too_many)
        for connection in held:
            connection.close()
        wait_until(lambda: _accepts(intake))


def _ends(connection: socket.socket) -> bool:
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def _accepts(intake: Intake) -> bool:
    try:
        return intake.deliver(push()).status == 202
    except OSError:
        return False


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"ref": ' + b"1" * 5_000 + b"}",
        b"[]",
        b"null",
        b"{}",
        push(repository=None),
        push(ref=5),
        push(commits=None),
        b'{"ref": "refs/heads/main", "ref": "refs/heads/evil"}',
    ],
)
def test_a_signed_body_that_makes_no_sense_is_400_and_nothing_is_stored(intake: Intake, body: bytes) -> None:
    assert intake.deliver(body).status == 400
    assert intake.count("deliveries") == intake.count("jobs") == 0


def test_after_a_body_that_makes_no_sense_the_next_delivery_is_served(intake: Intake) -> None:
    assert intake.deliver(b"[" * 100_000).status == 400
    assert intake.deliver(push()).status == 202


def test_half_a_character_in_a_field_is_stored_as_bytes_and_never_a_500(intake: Intake) -> None:
    for changes in ({"after": "\ud800"}, {"ref": "refs/heads/\ud800"}, {"commits": [{"message": "\ud800"}]}):
        assert intake.deliver(push(**changes)).status == 202
    assert intake.count("deliveries") == 3


def test_a_form_is_415_and_says_which_content_type_to_choose(intake: Intake) -> None:
    body = b"payload=%7B%7D"
    headers = {**github_headers(body), "Content-Type": "application/x-www-form-urlencoded"}
    reply = intake.request(GITHUB, body, headers)
    assert reply.status == 415
    assert b"application/json" in reply.body
    del headers["Content-Type"]
    assert intake.request(GITHUB, body, headers).status == 415


def test_a_ping_is_200_recorded_and_asks_for_nothing(intake: Intake) -> None:
    assert intake.deliver(b'{"zen": "Keep it logically awesome."}', event="ping").status == 200
    assert (intake.count("deliveries"), intake.count("jobs")) == (1, 0)


def test_an_unknown_event_is_202_and_ignored(intake: Intake) -> None:
    assert intake.deliver(b'{"action": "created"}', event="star").status == 202
    assert (intake.count("deliveries"), intake.count("jobs")) == (1, 0)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_405(intake: Intake, method: str) -> None:
    reply = intake.request(GITHUB, None, method=method)
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path",
    [
        "/", "/webhooks/github/", "//webhooks/github", "/webhooks%2Fgithub", "/webhooks/../webhooks/github",
        "/webhooks",         "/docs", "/redoc", "/openapi.json", "/metrics", "/healthz", "/readyz",
        "/api/environments", "/api/deployments", "/api/deliveries",
    ],
)  # fmt: skip
def test_all_else_is_404_without_a_redirect(intake: Intake, path: str) -> None:
    for method in ("GET", "POST"):
        reply = intake.request(path, None, {"Host": "evil.example"}, method)
        assert (reply.status, reply.headers["Location"]) == (404, None)
        assert b"evil" not in reply.body


def test_what_is_no_proper_request_is_4xx_and_the_next_one_is_served(intake: Intake) -> None:
    post = b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    for request in (
        post + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        post + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /webhooks/github HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n",
        b"GET /\xe9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ):
        assert 400 <= status_of(intake.raw(request)) < 500
    assert intake.deliver(push()).status == 202


@pytest.mark.parametrize(
    ("usual", "malformed", "status"),
    [
        (b"POST /", b"POST http://evil.example/", 202),  # a proxy's form; who is named in it is nobody's business
        (b"HTTP/1.1", b"HTTP/1.0", 202),
        (b"Host: x\r\n", b"", 202),
        (b"POST ", b"\r\n\r\nPOST ", 202),
        (b"/webhooks/github ", b"/webhooks/github?x=/webhooks/mlflow#y ", 202),
        (b"/webhooks/github ", b"/Webhooks/GitHub ", 404),
        (b"/webhooks/github ", b"/webhooks/github%00 ", 404),
        (b"POST /webhooks/github", b"POST http://evil.example", 400),
        (b"POST /", b"post /", 400),
        (b"-256: sha256=", b"-256:\r\n sha256=", 400),  # a folded line
        (b"-256: sha256=", b"-256 : sha256=", 400),
        (b"\r\n", b"\n", 400),
        (b"Content-Length: ", b"Content-Length: +", 400),
        (b"Content-Length: ", b"Content-Length: 0, ", 400),
    ],
)
def test_a_request_in_a_malformed_form_is_answered_once_or_refused(
    intake: Intake, usual: bytes, malformed: bytes, status: int
) -> None:
    request = raw_request(push(), b"X-Hub-Signature-256: " + sign(push()).encode())
    assert usual in request
    answer = intake.raw(request.replace(usual, malformed))
    assert (status_of(answer), answer.count(b"HTTP/1.1 ")) == (status, 1)
    assert b"evil" not in answer
    assert intake.count("deliveries") == (status == 202)


def test_a_client_that_asks_before_sending_is_accepted_or_refused_with_a_reason(intake: Intake) -> None:
    expect = b"Expect: 100-continue"
    good = intake.raw(raw_request(push(), expect, b"X-Hub-Signature-256: " + sign(push()).encode()))
    assert good.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 ")
    head = raw_request(b"", expect).replace(b"Content-Length: 0", b"Content-Length: 99999999")
    with socket.create_connection(("127.0.0.1", intake.port), timeout=20) as connection:
        connection.sendall(head)
        assert status_of(connection.recv(4096)) == 413


def test_who_stops_listening_after_the_request_has_delivered_it(intake: Intake) -> None:
    with socket.create_connection(("127.0.0.1", intake.port), timeout=20) as connection:
        connection.sendall(raw_request(push(), b"X-Hub-Signature-256: " + sign(push()).encode()))
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
    wait_until(lambda: intake.count("deliveries") == 1)


def test_answers_do_not_say_what_the_server_is_made_of(intake: Intake) -> None:
    assert intake.deliver(push()).headers["Server"] is None


def test_the_same_delivery_again_is_202_and_one_job(intake: Intake) -> None:
    body = push()
    for _ in range(2):
        assert intake.deliver(body, delivery="d-1").status == 202
    job = intake.queue.claim()
    assert job is not None
    assert intake.deliver(body, delivery="d-1").status == 202
    intake.queue.done(job)
    assert intake.deliver(body, delivery="d-1").status == 202
    assert (intake.count("deliveries"), intake.states()) == (1, ["done"])


def test_the_same_delivery_many_times_at_once_is_one_job(intake: Intake) -> None:
    body = push()
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(intake.deliver(body, delivery="d-1").status))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [202] * 20
    assert (intake.count("deliveries"), intake.states()) == (1, ["queued"])


def test_the_same_delivery_after_its_job_failed_runs_again(intake: Intake) -> None:
    intake.deliver(push(), delivery="d-1")
    job = intake.queue.claim()
    assert job is not None
    intake.queue.bury(job, "the pins were wrong")
    assert intake.deliver(push(), delivery="d-1").status == 202
    again = intake.queue.claim()
    assert again is not None
    row = intake.database.connection().execute("SELECT job FROM deliveries").fetchone()
    assert row["job"] == again.id != job.id


def test_the_same_body_under_a_new_id_is_another_look(intake: Intake) -> None:
    body = push()
    intake.deliver(body, delivery="d-1")
    job = intake.queue.claim()
    assert job is not None
    intake.queue.done(job)
    intake.deliver(body, delivery="d-2")
    assert intake.states() == ["done", "queued"]


@pytest.mark.parametrize(
    "changes",
    [
        {"repository": {"full_name": "owner/other"}},
        {"ref": "refs/tags/v1"},
        {"ref": "refs/heads/feature"},
        {"deleted": True},
    ],
)
def test_a_push_that_does_not_concern_us_is_recorded_and_deploys_nothing(
    intake: Intake, changes: dict[str, object]
) -> None:
    assert intake.deliver(push(**changes)).status == 202
    row = intake.database.connection().execute("SELECT verdict, job FROM deliveries").fetchone()
    assert tuple(row) == ("ignored", None)
    assert intake.states() == []


def test_while_the_database_is_locked_a_delivery_is_503_and_afterwards_202(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.adapters.sqlite.deliveries.ACCEPT_SECONDS", 0.3)
    other = sqlite3.connect(intake.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    reply = intake.deliver(push(), delivery="d-1")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "10")
    assert time.monotonic() - began < 9
    other.execute("ROLLBACK")
    other.close()
    assert intake.deliver(push(), delivery="d-1").status == 202


@pytest.mark.parametrize("pragma", ["query_only=ON", "max_page_count=1"])
def test_a_full_or_read_only_database_is_503_and_never_202(
    tmp_path: Path, pragma: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "receiver.adapters.sqlite.database.SETTINGS", ("journal_mode=WAL", "synchronous=FULL", pragma)
    )
    create_or_require(tmp_path / "pinrail.db")
    with running_intake(tmp_path) as intake:
        reply = intake.deliver(push(padding="x" * 100_000))
        assert reply.status == 503
        assert intake.count("deliveries") == 0


def test_a_thousand_deliveries_at_once_are_all_answered_coalesced_and_none_lost(intake: Intake) -> None:
    result = burst(intake.port, 1000, 200)
    assert result["statuses"] == {"202": 1000}
    stored = {row[0] for row in intake.database.connection().execute("SELECT id FROM deliveries")}
    assert stored == set(result["stored"])
    assert intake.states() == ["queued"]


def test_a_client_cannot_say_where_it_comes_from(intake: Intake, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {**github_headers(push()), "X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    assert intake.request(GITHUB, push(), headers).status == 202
    assert "203.0.113.9" not in caplog.text


def test_mlflow_s_webhook_is_a_hint_too_and_signed_its_own_way(intake: Intake) -> None:
    assert MLFLOW_SECRET_TEXT.encode() == MLFLOW_SECRET
    headers = {name.decode(): value.decode() for name, value in mlflow_signed(MLFLOW_BODY, time.time())}
    headers["Content-Type"] = "application/json"
    assert intake.request("/webhooks/mlflow", MLFLOW_BODY, headers).status == 202
    assert intake.request("/webhooks/mlflow", MLFLOW_BODY + b" ", headers).status == 401
    assert intake.request(GITHUB, MLFLOW_BODY, headers).status == 401
    job = intake.queue.claim()
    assert job is not None
    assert job.causes == ("registry",)


def test_without_a_secret_for_it_mlflow_s_webhook_does_not_exist(tmp_path: Path) -> None:
    with running_intake(tmp_path, mlflow=False) as intake:
        assert intake.request("/webhooks/mlflow", b"{}").status == 404


def test_a_push_during_a_deployment_is_neither_refused_nor_lost_and_runs_next(intake: Intake) -> None:
    intake.deliver(push())
    running = intake.queue.claim()
    assert running is not None
    assert intake.deliver(push()).status == 202
    assert intake.queue.claim() is None
    intake.queue.done(running)
    following = intake.queue.claim()
    assert following is not None
    assert following.id > running.id


def test_no_secret_and_no_escape_sequence_gets_into_log_row_or_answer(
    intake: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reply = intake.deliver(push(ref="refs/heads/\x1b[31m<script>::set-output"))
    note = intake.database.connection().execute("SELECT note FROM deliveries").fetchone()[0]
    for text in (caplog.text, reply.body.decode(), note):
        assert SECRET.decode() not in text
        assert "\x1b" not in text


def test_every_202_of_a_burst_is_in_the_database_after_kill_9(tmp_path: Path) -> None:
    with intake_in_a_process(tmp_path) as (receiver, port):
        reader = sqlite3.connect(tmp_path / "pinrail.db")
        killer = threading.Thread(target=_kill_after, args=(receiver, tmp_path / "pinrail.db", 100))
        killer.start()
        result = burst(port, 1000, 50)
        killer.join()
        receiver.wait()
    assert result["statuses"]["lost"] > 0, "the receiver was killed too late to prove anything"
    stored = {row[0] for row in reader.execute("SELECT id FROM deliveries")}
    reader.close()
    assert len(stored) >= 100
    assert set(result["stored"]) <= stored
    with running_intake(tmp_path) as again:
        assert again.queue.claim() is not None
        assert again.deliver(push()).status == 202


def _kill_after(receiver: "subprocess.Popen[bytes]", path: Path, deliveries: int) -> None:
    reader = sqlite3.connect(path)
    while reader.execute("SELECT count(*) FROM deliveries").fetchone()[0] < deliveries:
        pass
    receiver.kill()
    reader.close()


def burst(port: int, count: int, concurrency: int) -> Any:
    program = Path(__file__).parents[2] / "support" / "burst.py"
    done = subprocess.run(
        [sys.executable, program, str(port), str(count), str(concurrency)],
        capture_output=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_a_queue_that_another_process_fills_is_the_same_queue(intake: Intake) -> None:
    Queue(intake.database).enqueue("retry")
    intake.deliver(push())
    job = intake.queue.claim()
    assert job is not None
    assert job.causes == ("retry", "push")
