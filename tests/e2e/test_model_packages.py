"""Models whose packages Pinrail does not have: installed from a real index, served, compared, and refused."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from ml.packages.build import interpreter_of
from ml.packages.store import PackageStore
from receiver.core.deployment import Outcome
from receiver.core.plan import ActionKind
from receiver.core.state import Role
from receiver.targets.process.packages import PACKAGES
from tests.support import boosted
from tests.support.crashing import Crash, Moment
from tests.support.mlflow_scoring import running_scoring_server, score
from tests.support.mlflow_server import register_version
from tests.support.models import Versions
from tests.support.own_environments import PROXIES, environment_or_skip, without_proxies
from tests.support.process_target import pid_of
from tests.support.waiting import eventually
from tests.support.world import World, wait_for_death

MODEL = "boosted"  # of these tests alone: the registry is shared

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


@dataclass(frozen=True)
class Trained:
    """Models on disk, and an interpreter that can load them."""

    models: Path
    python: Path

    def files(self, name: str) -> dict[str, str | bytes]:
        found = (
            path for path in (self.models / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        )
        return {str(path.relative_to(self.models / name)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """On disk: an environment is half a gigabyte, and temporary directories may be in memory."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as found:
        yield Path(found)


@pytest.fixture(scope="module")
def trained(directory: Path) -> Iterator[Trained]:
    """Trained with packages that this venv does not have. Skipped where no index answers."""
    with without_proxies():
        needed = (*boosted.PACKAGES, *boosted.TWINS, "mlflow-skinny")
        environment = environment_or_skip(PackageStore(directory / "training"), *needed)
        python, models = interpreter_of(environment), directory / "models"
        models.mkdir()
        subprocess.run([python, "-P", boosted.__file__, str(models)], check=True, capture_output=True, timeout=120)
        yield Trained(models, python)


def test_they_are_served_as_mlflow_serves_them(directory: Path, trained: Trained, mlflow_server: str) -> None:
    client = MlflowClient(mlflow_server)
    numbers = {name: register_version(client, MODEL, trained.files(name)) for name in boosted.MODELS}
    wrong = {**trained.files("xgboost"), "requirements.txt": "xgboost-cpu==99.0.0\n"}
    conflict = register_version(client, MODEL, wrong)
    python = register_version(client, MODEL, {**trained.files("pyfunc"), "python_env.yaml": "python: 3.9.7\n"})
    first, *others = numbers.values()
    versions = Versions(mlflow_server, MODEL, first, others[0], conflict)
    rows = json.loads((trained.models / "rows.json").read_text())
    with World(directory, versions, stabilise_seconds=0.2) as world:
        world.environ.update(dict.fromkeys(PROXIES, ""))
        world.merge(first)
        with world.receiver(Crash(ActionKind.INSTALL, Moment.AFTER_ACTING, first)) as process:
            wait_for_death(process, 200)
        assert world.servers() == []
        with world.receiver():
            answers, runtimes = {}, {}
            for name, number in numbers.items():
                world.merge(number)
                eventually(lambda number=number: world.agrees(number), 60)  # type: ignore[misc]
                answers[name], runtimes[name] = _predictions(world.port, rows), world.health()["runtime"]
            assert (runtimes["twin"], runtimes["code"]) == ("onnx", "pyfunc")
            made = [path for path in (world.state / PACKAGES).iterdir() if path.is_dir() and len(path.name) == 32]
            assert len(made) == 1, "one stack, one environment"

            world.merge(python)
            eventually(lambda: world.deployments()[0].state is Outcome.REFUSED)
            assert "code of Python 3.9, and a model server needs 3.11 or newer" in world.deployments()[0].reason
            world.merge(conflict)
            eventually(lambda: world.deployments()[0].state is Outcome.ROLLED_BACK, 60)
            assert "No solution found" in world.deployments()[0].reason
            assert (world.answers(), world.alias()) == (number, number), "nothing changed"

            world.merge(first)
            eventually(lambda: world.agrees(first), 60)
            [server] = [server for server in world.servers() if server.role is Role.LIVE]
            os.kill(pid_of(world.state, server), 9)
            eventually(lambda: world.answers() == first, 30)
    with running_scoring_server(
        [trained.models / name for name in numbers], directory / "mlflow.log", str(trained.python)
    ) as urls:
        for (name, answer), url in zip(answers.items(), urls, strict=True):
            status, said = score(url, json.dumps({"dataframe_records": rows}).encode(), "application/json")
            assert status == 200
            assert answer == json.loads(said)["predictions"], name


def test_a_twin_is_kept_where_no_row_beside_a_threshold_is_answered_otherwise(trained: Trained) -> None:
    said = json.loads((trained.models / "twins.json").read_text())
    assert (said["xgboost"], said["lightgbm on whole numbers"]) == (None, None)
    for name in ("lightgbm", "xgboost behind a scaler"):
        assert "a hair beside one of its steps: it has another label at a=" in said[name]


def _predictions(port: int, rows: list[Mapping[str, float]]) -> list[object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", json.dumps(rows).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: list[object] = json.load(answer)["predictions"]
        return found


def test_the_gate_measures_them_with_their_packages(directory: Path, trained: Trained, mlflow_server: str) -> None:
    client = MlflowClient(mlflow_server)
    version = register_version(client, f"{MODEL}-gate", trained.files("lightgbm"))
    wrong = {**trained.files("lightgbm"), "requirements.txt": "pydantic==1.10.2\n"}
    refused = register_version(client, f"{MODEL}-gate", wrong)
    rows = trained.models / "evaluation.csv"
    environments = directory / "environments"
    environments.mkdir()
    (environments / "staging.yaml").write_text(
        "environment: staging\nregistry: {stage: Staging, alias: staging}\ngate: {accuracy: {min: 0.8}}\nmodels: {}\n"
    )

    def measured(number: int) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [
                *(sys.executable, "-m", "ml.evaluate", "--model", f"{MODEL}-gate", "--version", str(number)),
                *("--environments-dir", str(environments), "--data", str(rows), "--label", "label"),
                *("--packages", str(directory / "state" / PACKAGES)),
            ],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **dict.fromkeys(PROXIES, ""), "MLFLOW_TRACKING_URI": mlflow_server},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    done = measured(version)
    assert done.stdout.startswith("PASS: accuracy="), done.stderr
    done = measured(refused)
    assert done.returncode == 1
    assert "it needs pydantic==1.10.2, a model server pydantic>=2.10" in done.stderr
