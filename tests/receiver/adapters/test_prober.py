"""The prober against real servers, good and bad."""

import math
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from receiver.adapters.prober import HttpProber
from receiver.core.errors import Rejected, Retryable, VersionFailed
from receiver.core.state import Server
from receiver.targets.process.target import ProcessTarget
from tests.contracts.target import spec
from tests.support import tiny_server
from tests.support.models import artifact_only_files
from tests.support.ports import free_port
from tests.support.process_target import cleaned_up, process_target, send_signal


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with cleaned_up(tmp_path_factory.mktemp("prober")) as directory:
        yield directory


@pytest.fixture(scope="module")
def target(state: Path) -> ProcessTarget:
    return process_target(state)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """A model directory with an example of two rows."""
    directory = tmp_path / "model"
    directory.mkdir()
    for name, content in artifact_only_files().items():
        (directory / name).write_text(content)
    return directory


def live(target: ProcessTarget, version: int) -> Server:
    server = target.start(spec(version, free_port()))
    target.switch(server)
    return server


def test_a_good_server_is_proven_and_watched_for_the_whole_window(target: ProcessTarget, artifacts: Path) -> None:
    server, prober = live(target, 1), HttpProber()
    prober.prove(server, artifacts)
    began = time.monotonic()
    prober.watch(server, 0.6)
    assert 0.4 < time.monotonic() - began < 2


def test_a_server_that_says_another_version_is_rejected_with_both(target: ProcessTarget, artifacts: Path) -> None:
    server = target.start(spec(tiny_server.ANSWERS_AS_ANOTHER_VERSION, free_port()))
    with pytest.raises(Rejected, match="expected version 903 of staging/churn-model, got 1"):
        HttpProber().prove(server, artifacts)


def test_a_server_with_other_bytes_is_rejected(target: ProcessTarget, artifacts: Path) -> None:
    server = target.start(spec(1, free_port()))
    other = replace(server, spec=replace(server.spec, digest="sha256:" + "f" * 64))
    with pytest.raises(Rejected, match="expected digest 'sha256:ffff"):
        HttpProber().prove(other, artifacts)


def test_predictions_that_are_no_numbers_are_rejected(target: ProcessTarget, artifacts: Path) -> None:
    server = target.start(spec(tiny_server.PREDICTS_NAN, free_port()))
    with pytest.raises(Rejected, match="expected finite numbers"):
        HttpProber().prove(server, artifacts)


def test_a_model_that_has_no_answer_to_some_rows_is_proven(target: ProcessTarget, artifacts: Path) -> None:
    HttpProber().prove(target.start(spec(tiny_server.PREDICTS_NULL, free_port())), artifacts)


def test_a_model_without_an_example_is_rejected_with_what_to_do(target: ProcessTarget, artifacts: Path) -> None:
    server = target.start(spec(1, free_port()))
    (artifacts / "input_example.json").write_text("{")
    with pytest.raises(Rejected, match="input example cannot be read"):
        HttpProber().prove(server, artifacts)
    described = yaml.safe_load((artifacts / "MLmodel").read_text())
    del described["saved_input_example_info"]
    (artifacts / "MLmodel").write_text(yaml.safe_dump(described))
    with pytest.raises(Rejected, match="log the model with input_example="):
        HttpProber().prove(server, artifacts)


def test_a_server_that_dies_after_it_was_proven_is_noticed_while_it_is_watched(
    target: ProcessTarget, artifacts: Path
) -> None:
    server, prober = live(target, tiny_server.DIES_AFTER_AN_ANSWER), HttpProber()
    prober.prove(server, artifacts)
    began = time.monotonic()
    with pytest.raises(Rejected, match=r"after it got traffic: (GET|POST) http.*no answer"):
        prober.watch(server, 10)
    assert time.monotonic() - began < 4


def test_another_version_on_the_public_port_is_noticed(target: ProcessTarget, artifacts: Path) -> None:
    port = free_port()
    old, new = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(new)
    prober = HttpProber()
    prober.prove(new, artifacts)
    back = threading.Timer(0.3, target.switch, [old])
    back.start()
    with pytest.raises(Rejected, match=r"expected (version 2 of|an answer of churn-model v2).*got"):
        prober.watch(new, 10)
    back.join()


@pytest.mark.long
def test_a_server_that_hangs_is_noticed_within_a_request_s_time(
    state: Path, target: ProcessTarget, artifacts: Path
) -> None:
    server, prober = live(target, 1), HttpProber()
    prober.prove(server, artifacts)
    send_signal(state, server, signal.SIGSTOP)
    with pytest.raises(Rejected, match="no answer within 3 s"):
        prober.watch(server, 10)
    send_signal(state, server, signal.SIGKILL)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope", "expected JSON, got nope"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "expected a JSON object"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 7\r\n\r\nloading", "expected status 200, got 503 loading"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "no answer, IncompleteRead"),
        (b"SSH-2.0-OpenSSH\r\n", "no answer, BadStatusLine"),
        (b"", "no answer, RemoteDisconnected"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"status":"\x1b[0m"}', "no answer|expected"),
    ],
)
def test_whatever_else_answers_there_is_rejected_with_what_it_said(said: bytes, complaint: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        server = Server("x", spec(1, listening.getsockname()[1]), None, ("",))  # type: ignore[arg-type]
        with pytest.raises(Rejected, match=complaint) as caught:
            HttpProber().watch(server, 1)
        assert "\x1b" not in str(caught.value)
        thread.join()


@pytest.mark.long
def test_a_slow_drip_does_not_outlast_the_deadline() -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not stop.wait(0.2):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        server = Server("x", spec(1, listening.getsockname()[1]), None, ("",))  # type: ignore[arg-type]
        began = time.monotonic()
        with pytest.raises(Rejected, match="no answer within 3 s"):
            HttpProber().watch(server, 1)
        assert not math.isclose(time.monotonic() - began, 0, abs_tol=0.5)
        assert time.monotonic() - began < 6
        stop.set()
        thread.join()


def test_a_public_port_that_is_silent_is_not_the_versions_fault_while_its_server_answers(
    target: ProcessTarget, artifacts: Path
) -> None:
    server, prober = live(target, 1), HttpProber()
    prober.prove(server, artifacts)
    elsewhere = replace(server, spec=replace(server.spec, port=free_port()))
    with pytest.raises(Retryable, match="the server itself answers"):
        prober.watch(elsewhere, 5)
    unreachable = replace(elsewhere, urls=(f"http://127.0.0.1:{free_port()}",))
    with pytest.raises(VersionFailed, match="no answer"):
        prober.watch(unreachable, 5)
