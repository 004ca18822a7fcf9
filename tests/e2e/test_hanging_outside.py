"""``pinrail up`` while GitHub and a chat accept connections and never answer."""

import json
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.outbox import SqliteOutbox
from receiver.core.messages import Announcement, CommitStatus, RevertNeeded
from tests.support import command_line
from tests.support.git_repos import FILES, Origin
from tests.support.intake import SECRET
from tests.support.ports import free_port
from tests.support.waiting import eventually


@contextmanager
def silent_server() -> Iterator[tuple[int, list[bytes]]]:
    """A port, and the first bytes of each connection to it; none is answered."""
    requests: list[bytes] = []
    connections: list[socket.socket] = []

    def read(connection: socket.socket) -> None:
        requests.append(connection.recv(4096))

    def listen(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=read, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=listen, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1], requests
        for connection in connections:
            connection.close()


@pytest.mark.timeout(120)
def test_everything_is_asked_at_once_and_sigterm_is_obeyed_within_five_seconds(tmp_path: Path) -> None:
    origin, state = Origin(tmp_path / "owner"), tmp_path / "state"
    commit = origin.commit(FILES)
    origin.path.rename(tmp_path / "owner" / "models.git")
    outbox = SqliteOutbox(Database(state / "pinrail.db"))
    outbox.put(
        Announcement("v2 is rolled back", "it did not start"),
        RevertNeeded("staging", "churn-model", 1, 2, "it did not start"),
        CommitStatus(commit, "pinrail/staging", "failure", "v2 is rolled back"),
    )
    admin = free_port()
    with silent_server() as (port, requests):
        environment = {
            "PINRAIL_REPO_URL": f"file://{tmp_path}/owner/models.git",
            "PINRAIL_STATE_DIR": str(state),
            "PINRAIL_TARGET": "process",
            "PINRAIL_WEBHOOK_SECRET": SECRET.decode(),
            "PINRAIL_PUBLIC_PORT": str(free_port()),
            "PINRAIL_ADMIN_PORT": str(admin),
            "PINRAIL_NOTIFY_URLS": f"json://127.0.0.1:{port}/chat",
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
            "GITHUB_TOKEN": "ghp_0123456789",
            "GITHUB_API_URL": f"http://127.0.0.1:{port}",
        }
        log = state / "receiver.log"
        process = command_line.start(["up", "--tunnel", "none"], {**os.environ, **environment}, state, log)
        try:
            for asked in (b"POST /chat", b"/status?", b"/pulls?"):
                eventually(lambda asked=asked: any(asked in request for request in requests), 60)  # type: ignore[misc]
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/healthz", timeout=5) as answer:
                assert json.load(answer)
            began = time.monotonic()
            process.terminate()
            process.join(30)
            assert time.monotonic() - began < 5, log.read_text()
        finally:
            process.kill()
            process.join()
    assert not {"v2 is rolled back", "it did not start"} - _undelivered(state), "none is lost"


def _undelivered(state: Path) -> set[str]:
    """Every text of the messages that wait."""
    query = "SELECT body FROM outbox WHERE sent_at IS NULL AND given_up_at IS NULL"
    rows = Database(state / "pinrail.db").connection().execute(query)
    return {text for row in rows for text in json.loads(row["body"]).values() if isinstance(text, str)}
