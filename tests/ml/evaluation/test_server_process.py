"""The server that the gate measures is launched like those of production: same program, flags and variables."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from ml.evaluation import guard
from ml.evaluation.server_process import Artifacts, serving
from ml.train import TrainResult
from receiver.core.state import ServerSpec, Slot
from receiver.targets.process.target import ProcessTarget
from serving.lifecycle import launch
from serving.model.loader import Cache
from tests.support.ports import free_port
from tests.support.process_target import cleaned_up, pid_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux shows a process's start")


def environment_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def arguments_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def flags(arguments: Sequence[str]) -> set[str]:
    return {argument.partition("=")[0] for argument in arguments}


def without_registry(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(launch.REGISTRY)}


def test_the_gates_server_has_the_flags_and_variables_of_productions_but_no_credentials(
    tmp_path: Path, trained: TrainResult, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "2",
        "PYTHONPATH": str(tmp_path / "elsewhere"),
        "PYTHONHASHSEED": "7",
        "MLFLOW_TRACKING_TOKEN": "secret",
        "GITHUB_TOKEN": "secret",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    version = int(trained.model_version)
    cache = tmp_path / "cache"
    Cache(cache, mlflow_server).obtain(trained.model, version, trained.digest)
    with cleaned_up(tmp_path) as state:
        slot = Slot("staging", trained.model)
        target = ProcessTarget(state)
        production = target.start(ServerSpec(slot, version, trained.digest, "Staging", free_port(), "c" * 40))
        live_environment, live = environment_of(pid_of(state, production)), arguments_of(pid_of(state, production))
        with serving(Artifacts(trained.model, version, trained.digest, cache)) as server:
            pid, *_ = guard.descendants(server.guard_pid)  # nearest first
            measured_environment, measured = environment_of(pid), arguments_of(pid)

    for name in launch.private(tmp_path):
        assert measured_environment.pop(name) != live_environment.pop(name)
    assert measured_environment == without_registry(live_environment)
    assert {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "2"}.items() <= measured_environment.items()
    assert not {"PYTHONPATH", "PYTHONHASHSEED", "GITHUB_TOKEN"} & live_environment.keys()
    assert "secret" not in measured_environment.values()
    start = [sys.executable, "-P", "-m", "serving"]
    assert measured[:4] == live[:4] == start
    assert flags(measured[4:]) == flags(live[4:]) - {"--stage"}, "a stage is shown, and changes nothing"
