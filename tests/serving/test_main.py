"""``python -m serving`` with a real model out of a real registry."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml.train import TrainResult
from serving.lifecycle.control import ask
from tests.support.ports import free_port
from tests.support.segments import recorded
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def options(trained: TrainResult, cache: Path, **more: object) -> list[str]:
    values = {
        "model": trained.model,
        "version": trained.model_version,
        "digest": trained.digest,
        "environment": "staging",
        "stage": "Staging",
        "revision": "c" * 40,
        "cache": cache,
        **more,
    }
    return [f"--{name}={value}" for name, value in values.items()]


@contextlib.contextmanager
def serving(argv: list[str], tracking_uri: str) -> Iterator["subprocess.Popen[str]"]:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri}
    command = [sys.executable, "-P", "-m", "serving", *argv]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def get(port: int, path: str = "/health") -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def status_or_none(port: int) -> int | None:
    try:
        return get(port)[0]
    except OSError:
        return None


def test_on_a_port_it_says_503_until_the_model_is_there_and_ends_on_sigterm(
    trained: TrainResult, mlflow_server: str, cache: Path
) -> None:
    port, seen = free_port(), set()
    with serving(options(trained, cache, port=port), mlflow_server) as process:
        eventually(lambda: seen.add(status_or_none(port)) or 200 in seen, 60)
        assert seen <= {None, 503, 200}
        assert 503 in seen
        _, health = get(port)
        assert (health["model"], health["version"], health["digest"]) == (
            trained.model,
            int(trained.model_version),
            trained.digest,
        )
        assert (health["environment"], health["stage"], health["revision"]) == ("staging", "Staging", "c" * 40)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_with_a_control_socket_it_starts_from_the_cache_while_the_registry_is_down(
    trained: TrainResult, mlflow_server: str, cache: Path, tmp_path: Path
) -> None:
    control = tmp_path / "control.sock"
    port = free_port()
    with serving(options(trained, cache, port=port), mlflow_server) as first:
        eventually(lambda: status_or_none(port) == 200, 60)  # now it is in the cache
        first.terminate()
    with serving(options(trained, cache, control=control), "http://127.0.0.1:9") as process:
        eventually(control.exists)
        assert ask(control, {"do": "status"}, timeout=10)[0]["role"] == "candidate"
        eventually(lambda: ask(control, {"do": "status"}, timeout=10)[0]["ready"], 30)
        said, _ = ask(control, {"do": "status"}, timeout=10)
        assert said["spec"]["digest"] == trained.digest
        assert get(int(said["private_url"].rsplit(":", 1)[1]))[0] == 200
        ask(control, {"do": "exit"}, timeout=10)
        assert process.wait(10) == 0


def test_other_bytes_than_were_asked_for_are_not_served(
    trained: TrainResult, mlflow_server: str, tmp_path: Path
) -> None:
    wrong = options(trained, tmp_path, digest="sha256:" + "0" * 64, control=tmp_path / "control.sock")
    with serving(wrong, mlflow_server) as process:
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "shared-churn version" in complaint
    assert "cannot be served" in complaint
    assert "sha256:000" in complaint
    assert "Traceback" not in complaint
    assert not (tmp_path / "control.sock").exists()


@pytest.mark.parametrize("wrong", [["--version=latest"], ["--port=1", "--control=x"], [], ["--help-me"]])
def test_wrong_options_are_named(trained: TrainResult, tmp_path: Path, wrong: list[str]) -> None:
    with serving([*options(trained, tmp_path), *wrong], "http://127.0.0.1:9") as process:
        _, complaint = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "usage: python -m serving" in complaint


def test_what_was_answered_is_recorded_also_at_the_end_and_a_crash_leaves_only_whole_segments(
    trained: TrainResult, mlflow_server: str, cache: Path, tmp_path: Path
) -> None:
    port = free_port()
    argv = options(trained, cache, port=port, log="{}", **{"log-directory": tmp_path})
    for end, at_least in ((signal.SIGTERM, 3), (signal.SIGKILL, 0)):
        with serving(argv, mlflow_server) as process:
            eventually(lambda: status_or_none(port) == 200, 60)
            for _ in range(3):
                assert post_nonsense(port) == 422
            process.send_signal(end)
            process.wait(10)
        found = recorded(tmp_path)
        assert len(found) >= at_least
        assert {record.status for record in found} <= {422}
        assert list(tmp_path.glob(".*")) == []


def post_nonsense(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", "/predict", b"{}", {"Content-Type": "application/json"})
        return connection.getresponse().status
