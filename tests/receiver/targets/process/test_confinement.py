"""What a model can't do where it serves, on the process target: a model that tries it, started by the real target."""

import http.client
import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from receiver.core.errors import VersionFailed
from receiver.core.state import Server, ServerSpec, Slot
from receiver.targets.process import isolation
from receiver.targets.process.target import ProcessTarget
from serving.confinement import confine
from tests.contracts.target import spec as tiny_spec
from tests.support import attempts as tried
from tests.support import hostile_models as hostile
from tests.support.ports import free_port
from tests.support.process_target import cleaned_up, pid_of, process_target

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(confine.missing()), reason=f"{confine.missing()}"),
]

DENIED = tried.DENIED


def serve(state: Path, load: str, *, egress: bool = False, confine: bool = True) -> tuple[ProcessTarget, Server]:
    """A server of a model that does this when it is loaded, with traffic."""
    made = hostile.cached(load, state)
    slot = Slot("staging", "hostile")
    target = ProcessTarget(state, confine=confine)
    server = target.start(ServerSpec(slot, 1, made.digest, None, free_port(), "c" * 40, egress=egress))
    target.switch(server)
    return target, server


def answers(server: Server, count: int) -> list[str]:
    """How its attempts went, asked over the public port."""
    connection = http.client.HTTPConnection("127.0.0.1", server.spec.port, timeout=30)
    body = json.dumps([{"n": n} for n in range(count)])
    connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    said = json.loads(response.read())
    connection.close()
    assert response.status == 200, said
    return list(map(str, said["predictions"]))


class Machine:
    """A state directory with what is in one, a model server of another slot, and programs that listen."""

    def __init__(self, state: Path, stack: ExitStack) -> None:
        self.state = state
        self.home = Path(os.environ["GIT_CONFIG_GLOBAL"])
        self.key, self.database, self.env = state / "evidence.key", state / "pinrail.db", state.parent / ".env"
        self.other = state / "cache" / ("0" * 64) / "model.pkl"
        self.other.parent.mkdir(parents=True)
        self.log = state / "inference" / "segments" / "production" / "other" / "key"
        self.log.parent.mkdir(parents=True)
        for file in (self.key, self.database, self.env, self.other, self.log):
            file.write_text("secret")
            file.chmod(0o600)
        self.files = (self.key, self.database, self.env, self.other, self.log)
        self.listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.unix = state.parent / "u"
        engine = stack.enter_context(socket.socket(socket.AF_UNIX))
        engine.bind(str(self.unix))
        engine.listen()
        target = process_target(state)
        self.neighbour = target.start(tiny_spec(1, free_port()))
        target.switch(self.neighbour)
        self.neighbour_pid = pid_of(state, self.neighbour)
        self.port = self.listening.getsockname()[1]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with ExitStack() as stack:
        yield Machine(stack.enter_context(cleaned_up(tmp_path_factory.mktemp("confined") / "state")), stack)


def groups(machine: Machine) -> dict[str, list[str]]:
    """All that the one model of this file tries, by what it is about."""
    control = machine.state / "servers" / f"{machine.neighbour.id}.sock"
    return {
        "reading": tried.reads(*machine.files, machine.home, machine.state, machine.state / "servers"),
        "writing": tried.writes(*machine.files, machine.state / "servers" / f"{machine.neighbour.id}.jsonl"),
        "receiver": tried.on_process(os.getpid()),
        "neighbour": [*tried.on_process(machine.neighbour_pid), *tried.unix_sockets(control)],
        "connecting": [*tried.connections(machine.port), *tried.unix_sockets(machine.unix)],
        "modes": [f"os.chmod({str(file)!r}, 0o777)" for file in machine.files],
        "listening": [
            "socket.create_server(('127.0.0.1', 0))",
            "open('/proc/sys/kernel/core_pattern', 'w')",
        ],
        "its own": [
            "open(os.environ['TMPDIR'] + '/file', 'w').write('own')",
            "os.path.expanduser('~') == os.environ['TMPDIR']",
            "subprocess.run([sys.executable, '-c', 'import sklearn, serving'], check=True).returncode",
            "subprocess.run(['cat', '/etc/hosts'], check=True, stdout=subprocess.DEVNULL).returncode",
        ],
    }


@pytest.fixture(scope="module")
def found(machine: Machine) -> dict[str, list[str]]:
    """How it went, by what it is about."""
    grouped = groups(machine)
    load = hostile.prying([attempt for group in grouped.values() for attempt in group])
    _, server = serve(machine.state, load)
    said = iter(answers(server, sum(map(len, grouped.values()))))
    return {name: [next(said) for _ in group] for name, group in grouped.items()}


def test_a_model_that_serves_reads_no_key_no_settings_no_state_and_no_other_version(
    found: dict[str, list[str]],
) -> None:
    assert {*found["reading"]} == {DENIED}


def test_a_model_that_serves_writes_nothing_but_its_own(machine: Machine, found: dict[str, list[str]]) -> None:
    assert {*found["writing"]} == {DENIED}
    assert [file.read_text() for file in machine.files] == ["secret"] * len(machine.files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in machine.files} == {0o600}


def test_a_model_that_serves_reaches_neither_the_receiver_nor_another_model_server(
    machine: Machine, found: dict[str, list[str]]
) -> None:
    assert {*found["receiver"], *found["neighbour"]} == {DENIED}
    assert process_target(machine.state).start(machine.neighbour.spec).id == machine.neighbour.id


def test_a_model_that_serves_opens_no_connections(found: dict[str, list[str]]) -> None:
    assert {*found["connecting"], *found["listening"]} == {DENIED}


def test_a_model_that_serves_has_a_directory_of_its_own_and_can_start_programs(found: dict[str, list[str]]) -> None:
    assert found["its own"] == ["3", "True", "0", "0"]


def test_a_pin_with_egress_lets_a_model_open_connections_and_nothing_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, cleaned_up(tmp_path / "state") as state:
        state.mkdir()
        key = state / "evidence.key"
        key.write_text("secret")
        port = listening.getsockname()[1]
        asked = [*tried.connections(port)[:1], *tried.reads(key), *tried.unix_sockets(key)]
        _, server = serve(state, hostile.prying(asked), egress=True)
        connected, *denied = answers(server, len(asked))
    assert connected.startswith("<socket")
    assert denied == [DENIED, DENIED]


def test_a_library_that_is_denied_a_file_leads_to_the_cause_and_the_setting(tmp_path: Path) -> None:
    table = tmp_path / "lookup.csv"
    table.write_text("1,2")
    load = f"self.table = open({str(table)!r}).read()"
    with cleaned_up(tmp_path / "state") as state:
        state.mkdir()
        cause = f"confined: it may not reach the file {table} .*PINRAIL_CONFINE=false"
        with pytest.raises(VersionFailed, match=cause):
            serve(state, load)
        target, server = serve(state, load, confine=False)
        assert answers(server, 1) == ["0"]
        target.retire(server)


def test_whether_models_are_confined_is_tried_and_not_read_from_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    isolation._why_not_here.cache_clear()
    assert isolation.why_unconfined(wanted=True) == ""
    assert isolation.why_unconfined(wanted=False) == "PINRAIL_CONFINE is false"
    for name, said in {"version": 0, "NETWORK_VERSION": 99, "SCOPE_VERSION": 99}.items():
        with monkeypatch.context() as older:
            older.setattr(f"serving.confinement.landlock.{name}", (lambda: 0) if name == "version" else said)
            isolation._why_not_here.cache_clear()
            assert "kernel" in isolation.why_unconfined(wanted=True)
    isolation._why_not_here.cache_clear()


def test_what_a_kernel_does_not_deny_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    isolation._why_not_here.cache_clear()
    monkeypatch.setattr(isolation, "PROBE", "tests.support.unconfined_probe")
    assert "all the same: read other files, write other files" in isolation.why_unconfined(wanted=True)
    isolation._why_not_here.cache_clear()
