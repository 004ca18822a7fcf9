import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from receiver.adapters.sqlite.state_lock import exclusive, holder
from receiver.cli.doctor import machine
from receiver.cli.doctor.check import Question, answer
from receiver.cli.doctor.clock import clock
from receiver.core.state import ServerSpec, Slot
from receiver.settings import Settings
from tests.support.fake_target import FakeTarget
from tests.support.ports import free_port

SLOT = Slot("staging", "churn-model")


def settings(tmp_path: Path, **more: object) -> Settings:
    return Settings(pinrail_state_dir=tmp_path / "state", **more)  # type: ignore[arg-type]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program has; it says nothing."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_git_says_its_version() -> None:
    assert machine.git().ok
    assert machine.git().found.startswith("git version")


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file is in the way")
    check = machine.state_directory(settings(tmp_path))
    assert (check.ok, "PINRAIL_STATE_DIR" in check.todo) == (False, True)


def test_a_state_file_of_another_pinrail_is_named_with_what_to_do(tmp_path: Path) -> None:
    assert machine.state_file(settings(tmp_path)).ok
    with closing(sqlite3.connect(tmp_path / "state" / "pinrail.db")) as db:
        db.execute("PRAGMA user_version = 99")
    (check,) = answer([Question("state file", partial(machine.state_file, settings(tmp_path)), "see the docs")], 5)
    assert (check.ok, check.todo) == (False, "see the docs")
    assert "found schema version 99, written by a newer Pinrail" in check.found


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.state_directory(settings(tmp_path)).ok
    monkeypatch.setattr(machine, "FREE_BYTES", 1 << 62)
    assert not machine.state_directory(settings(tmp_path)).ok


def test_who_holds_the_state_directory_is_reported(tmp_path: Path) -> None:
    assert holder(tmp_path / "state") is None
    with exclusive(tmp_path / "state"):
        assert "process" in machine.receiver(settings(tmp_path)).found
    assert holder(tmp_path / "state") is None
    assert "pinrail up" in machine.receiver(settings(tmp_path)).todo


def test_a_port_that_another_program_has_is_not_ours(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "HTTP_SECONDS", 0.2)
    of_public = machine.listener_port(settings(tmp_path, pinrail_public_port=taken), "public")
    assert (of_public.ok, "PINRAIL_PUBLIC_PORT" in of_public.todo) == (False, True)
    of_model = machine.model_port("127.0.0.1", SLOT, taken, FakeTarget())
    assert (of_model.ok, "environments/staging.yaml" in of_model.todo) == (False, True)
    assert machine.model_port("127.0.0.1", SLOT, free_port(), FakeTarget()).ok


def test_a_model_server_that_this_state_directory_does_not_know_is_in_the_way() -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"environment": "staging", "model": "churn-model", "version": 6}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        port = server.server_address[1]
        target = FakeTarget()
        stray = machine.model_port("127.0.0.1", SLOT, port, target)
        target.start(ServerSpec(SLOT, 6, "sha256:" + "0" * 64, "Staging", port, "1f" * 20))
        known = machine.model_port("127.0.0.1", SLOT, port, target)
        server.shutdown()
        thread.join()
    assert (stray.ok, "lost state directory" in stray.found, f"sport = :{port}" in stray.todo) == (False, True, True)
    assert (known.ok, known.found) == (True, "serves staging/churn-model v6")


def test_who_reaches_model_servers_is_said(tmp_path: Path) -> None:
    loopback = machine.address(settings(tmp_path))
    assert (loopback.ok, loopback.todo) == (True, "")
    everybody = machine.address(settings(tmp_path, pinrail_host="0.0.0.0"))  # noqa: S104 - tried
    assert (everybody.ok, "every IPv4 address" in everybody.found, "firewall" in everybody.todo) == (True, True, True)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_named_before_a_server_needs_it(tmp_path: Path, host: str) -> None:
    check = machine.address(settings(tmp_path, pinrail_host=host))
    assert (check.ok, f"PINRAIL_HOST={host}" in check.found, "127.0.0.1" in check.todo) == (False, True, True)


def test_a_clock_that_is_off_is_reported(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert "127.0.0.1" in clock([nowhere, mlflow_server]).found
    assert clock([nowhere, mlflow_server]).ok
    monkeypatch.setattr("receiver.cli.doctor.clock.SKEW_SECONDS", -1.0)
    assert not clock([mlflow_server]).ok
    assert clock([]).ok


def test_which_rights_models_have_is_said_plainly(tmp_path: Path) -> None:
    found = machine.isolation(settings(tmp_path, pinrail_target="process", pinrail_confine=False))
    assert (found.ok, found.todo) == (True, "use compose for models whose authors you do not trust")
    assert found.found == "a model that serves has the rights of this user: PINRAIL_CONFINE is false"
    assert "containers" in machine.isolation(settings(tmp_path, pinrail_target="compose")).found


def test_a_key_that_others_can_read_is_a_mistake(tmp_path: Path) -> None:
    own = settings(tmp_path)
    assert machine.evidence_key(own).todo == "`pinrail up` makes it"
    assert own.evidence_key.public in machine.evidence_key(own).found
    (own.pinrail_state_dir / "evidence.key").chmod(0o644)
    found = machine.evidence_key(own)
    assert (found.ok, "chmod 600" in found.todo) == (False, True)
