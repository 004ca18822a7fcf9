"""The receiver's intake as it runs: real SQLite, real uvicorn, real sockets."""

import hashlib
import hmac
import http.client
import json
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.deliveries import Inbox
from receiver.adapters.sqlite.queue import Queue
from receiver.daemon.listener import Listener
from receiver.intake.app import LIMITS, PublicApp, Senders
from receiver.intake.github import Watched
from receiver.intake.server import server_config
from serving.http.body import BodyLimits

SECRET = b"correct horse battery staple"
MLFLOW_SECRET = b"an mlflow webhook secret"
COMMIT = "1f" * 20


def sign(body: bytes, secret: bytes = SECRET) -> str:
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def push(**changes: Any) -> bytes:
    """A push payload to the watched branch, as far as it matters; ``changes`` replace top-level keys."""
    payload = {
        "ref": "refs/heads/main",
        "before": "00" * 20,
        "after": COMMIT,
        "deleted": False,
        "repository": {"full_name": "owner/models", "clone_url": "https://github.com/owner/models.git"},
        "commits": [{"id": COMMIT, "message": "Promote"}],
    }
    return json.dumps({**payload, **changes}).encode()


def github_headers(body: bytes, event: str = "push", delivery: str | None = None) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery or str(uuid.uuid4()),
        "X-Hub-Signature-256": sign(body),
    }


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


@dataclass(frozen=True)
class Intake:
    port: int
    database: Database
    queue: Queue
    inbox: Inbox

    def request(
        self, path: str, body: bytes | None, headers: dict[str, str] | None = None, method: str = "POST"
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def deliver(self, body: bytes, event: str = "push", delivery: str | None = None) -> Reply:
        return self.request("/webhooks/github", body, github_headers(body, event, delivery))

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are; everything that is answered until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            return read_all(connection)

    def count(self, table: str) -> int:
        return int(self.database.connection().execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608

    def states(self) -> list[str]:
        return [row[0] for row in self.database.connection().execute("SELECT state FROM jobs ORDER BY id")]


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def raw_request(body: bytes, *headers: bytes, path: bytes = b"/webhooks/github") -> bytes:
    """A push with exactly these header lines besides the ones that every request has."""
    lines = [
        b"POST " + path + b" HTTP/1.1",
        b"Host: x",
        b"Connection: close",
        b"Content-Type: application/json",
        b"X-GitHub-Event: push",
        b"X-GitHub-Delivery: " + str(uuid.uuid4()).encode(),
        b"Content-Length: " + str(len(body)).encode(),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@contextmanager
def running_intake(directory: Path, limits: BodyLimits = LIMITS, *, mlflow: bool = True) -> Iterator[Intake]:
    """The public listener on a free port, with its state below ``directory``."""
    database = Database(directory / "pinrail.db")
    queue = Queue(database)
    inbox = Inbox(database, queue)
    senders = Senders((SECRET,), Watched("owner/models", "main"), MLFLOW_SECRET if mlflow else None)
    listener = Listener(server_config(PublicApp(senders, inbox, limits), 0), "public")
    listener.start()
    try:
        yield Intake(listener.port, database, queue, inbox)
    finally:
        listener.stop()
        inbox.close()
        database.close()


PROGRAM = """
import sys, pathlib, threading
from receiver.core.redact import Redactor
from receiver.daemon.logs import configure_logs
from tests.support.intake import running_intake
configure_logs(Redactor())
with running_intake(pathlib.Path(sys.argv[1])) as intake:
    print(intake.port, flush=True)
    threading.Event().wait()
"""


@contextmanager
def intake_in_a_process(directory: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """The same in a process that logs as the receiver does, to ``receiver.log``. Yields the process and its port."""
    with (directory / "receiver.log").open("wb") as log:
        program = [sys.executable, "-c", PROGRAM, directory]
        process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=log, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
