"""Servers that are silent while ports change hands: no port is ever answered by two slots."""

import contextlib
import json
import os
import signal
import socket
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from receiver.core.errors import Rejected
from receiver.core.state import Server
from receiver.targets.process import public_ports
from receiver.targets.process.records import ServerRecords
from receiver.targets.process.target import ProcessTarget
from serving.lifecycle import control
from tests.contracts.target import PRODUCTION, asked_version, spec
from tests.support.ports import free_port
from tests.support.process_target import is_running, send_signal


@dataclass(frozen=True)
class Pair:
    """Staging serves on the first port and production on the second, and their next servers are to exchange them."""

    ports: tuple[int, int]
    old: list[Server]  # versions 1 and 2
    new: list[Server]  # versions 3 and 4

    def answers(self) -> list[set[int | None]]:
        """Which versions answer on each port."""
        return [{asked_version(port) for _ in range(20)} for port in self.ports]


@pytest.fixture
def pair(target: ProcessTarget) -> Pair:
    here, there = free_port(), free_port()
    old = [target.start(spec(1, here)), target.start(spec(2, there, PRODUCTION))]
    for server in old:
        target.switch(server)
    return Pair((here, there), old, [target.start(spec(3, there)), target.start(spec(4, here, PRODUCTION))])


def stopped_before(monkeypatch: pytest.MonkeyPatch, state: Path, victim: Server, command: str) -> list[bool]:
    """Let a server hang in the moment in which it is sent a command; notes at every order to accept if it runs."""
    ask, runs = public_ports.ask, list[bool]()

    def late(path: Path, request: dict[str, Any], **keywords: Any) -> tuple[dict[str, Any], list[int]]:
        if request["do"] == command and path.stem == victim.id:
            send_signal(state, victim, signal.SIGSTOP)
        if request["do"] == "take":
            runs.append(is_running(state, victim))
        return ask(path, request, **keywords)

    monkeypatch.setattr(public_ports, "ask", late)
    return runs


def test_an_old_server_does_not_come_back_to_a_port_whose_new_owner_is_silent(
    state: Path, target: ProcessTarget, pair: Pair
) -> None:
    target.exchange(pair.new)
    send_signal(state, pair.new[1], signal.SIGSTOP)
    with pytest.raises(Rejected, match=f"port {pair.ports[0]} .* is taken by the model server {pair.new[1].id}"):
        target.switch(pair.old[0])
    send_signal(state, pair.new[1], signal.SIGCONT)
    assert pair.answers() == [{4}, {3}]


def test_who_does_not_say_that_it_has_stopped_is_killed_before_another_accepts(
    monkeypatch: pytest.MonkeyPatch,
    state: Path,
    target: ProcessTarget,
    pair: Pair,
) -> None:
    runs = stopped_before(monkeypatch, state, pair.old[0], "stand-by")
    target.exchange(pair.new)
    assert runs == [False, False]
    assert pair.answers() == [{4}, {3}]


def test_who_was_late_to_accept_does_not_do_it_after_all_went_back(
    monkeypatch: pytest.MonkeyPatch,
    state: Path,
    target: ProcessTarget,
    pair: Pair,
) -> None:
    monkeypatch.setattr(public_ports, "DRAIN_SECONDS", 1.0)
    stopped_before(monkeypatch, state, pair.new[1], "take")
    with pytest.raises(Rejected, match="v4 could not take its port"):
        target.exchange(pair.new)
    assert not is_running(state, pair.new[1])
    assert pair.answers() == [{1}, {2}]


def test_a_hung_server_of_a_slot_that_moves_does_not_hold_the_others_up(
    state: Path, target: ProcessTarget, pair: Pair
) -> None:
    send_signal(state, pair.old[0], signal.SIGSTOP)
    target.exchange(pair.new)
    assert not is_running(state, pair.old[0])
    assert pair.answers() == [{4}, {3}]


def test_what_only_says_that_it_is_a_server_is_not_adopted(state: Path, target: ProcessTarget) -> None:
    said = {**dict.fromkeys(("stage", "log")), **dict.fromkeys(("environment", "model", "digest", "revision"), "x")}
    body = {"role": "live", "since": 0, "port": 8000, "pid": 1, "spec": {**said, "version": 7}}
    listening = control.listen(state / "servers" / "x.sock")
    listening.setblocking(True)

    def answer() -> None:
        with contextlib.suppress(OSError):  # until it is shut down
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(
                        json.dumps({**body, "private_url": "http://x", "ready": True}).encode() + b"\n"
                    )

    thread = threading.Thread(target=answer)
    thread.start()
    assert target.observe() == []
    listening.shutdown(socket.SHUT_RDWR)
    thread.join()
    listening.close()
    assert ServerRecords(state).all() == []


def test_records_that_others_may_write_are_not_believed(state: Path) -> None:
    ServerRecords(state)
    directory = state / "servers"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    directory.chmod(0o777)
    with pytest.raises(Rejected, match="others may write into it"):
        ServerRecords(state)
    directory.chmod(0o700)


def test_the_number_of_every_process_is_never_killed(
    monkeypatch: pytest.MonkeyPatch, state: Path, target: ProcessTarget
) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda group, _: killed.append(group))
    with ServerRecords(state).create(spec(1, free_port())) as (record, _):
        target._discovery.kill(ServerRecords(state).note_pid(record, 1), "it hangs")
    assert killed == []
