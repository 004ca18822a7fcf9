"""From `pinrail init` to a served version of somebody's own model, with Pinrail installed from a wheel."""

import json
import os
import shlex
import subprocess
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow.sklearn
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.models import infer_signature
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from receiver.adapters import shell
from receiver.targets.compose.build import image_name
from receiver.targets.process.target import ProcessTarget
from tests.support.git_repos import Origin, git
from tests.support.installed import install_wheel
from tests.support.mlflow_server import register_version
from tests.support.ports import free_port
from tests.support.receiver_program import serving_version
from tests.support.waiting import eventually

MODEL = "own-disease"  # of these tests alone: the registry is shared
SECRET = "correct horse battery staple"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_wheel(tmp_path_factory.mktemp("installed"))


class Machine:
    """A person's shell in the new repository."""

    def __init__(self, programs: Path, directory: Path, mlflow: str) -> None:
        self.programs, self.repository = programs, directory / "repository"
        self.state = directory / "state"
        self.environment = {
            **shell.scrubbed(os.environ, "GIT_", "MLFLOW_"),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PINRAIL_STATE_DIR": str(self.state),
            "PINRAIL_TARGET": "process",
            "PINRAIL_PUBLIC_PORT": str(free_port()),
            "PINRAIL_ADMIN_PORT": str(free_port()),
            "PINRAIL_WEBHOOK_SECRET": SECRET,
            "PINRAIL_STABILISE_SECONDS": "0.2",
            "PINRAIL_POLL_SECONDS": "1",
            "PINRAIL_REPO_URL": f"file://{directory}/origin.git",
            "MLFLOW_TRACKING_URI": mlflow,
        }

    @contextmanager
    def receiver(self) -> Iterator[None]:
        """``pinrail up``, which finds merges by polling."""
        process = subprocess.Popen(
            ["pinrail", "up", "--tunnel", "none"],
            executable=self.programs / "pinrail",
            env=self.environment,
            cwd=self.repository,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            arguments,
            cwd=self.repository if self.repository.is_dir() else self.repository.parent,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def machine(programs: Path, tmp_path: Path, mlflow_server: str) -> Iterator[Machine]:
    machine = Machine(programs, tmp_path, mlflow_server)
    yield machine
    target = ProcessTarget(machine.state)
    for server in target.observe():
        target.retire(server)


def register(tracking_uri: str, model: Ridge, features: pd.DataFrame, directory: Path) -> None:
    """What `mlflow.sklearn.log_model` leaves in the registry."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            str(directory),
            signature=infer_signature(features, model.predict(features)),
            input_example=features.head(3),
            serialization_format="skops",
            pip_requirements=["scikit-learn"],
        )
    files = {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}
    register_version(MlflowClient(tracking_uri), MODEL, files)


@pytest.mark.long
def test_a_model_of_ones_own_is_served_from_a_repository_that_init_wrote(machine: Machine) -> None:
    rows = load_diabetes(as_frame=True, scaled=False).frame
    features, answers_of = rows.drop(columns="target"), rows["target"]
    model = Ridge().fit(features[:300], answers_of[:300])
    register(machine.environment["MLFLOW_TRACKING_URI"], model, features[:300], machine.repository.parent / "model")

    written = machine.run("pinrail", "init", str(machine.repository))
    assert "pinrail adopt staging MODEL" in written
    assert machine.run("pinrail", "check") == "staging: no models\nproduction: no models\n"
    port = free_port()
    adopted = machine.run("pinrail", "adopt", "staging", MODEL, "--port", str(port))
    assert f"environments/staging.yaml: pins {MODEL} v1 on port {port}, as a regression" in adopted
    assert machine.run("pinrail", "check").startswith(f"staging: {MODEL} v1 on port {port}\n")

    evaluation = machine.repository / f"evaluation/{MODEL}.csv"
    example = pd.read_csv(evaluation)
    assert [*example] == [*features, "label"]
    assert len(example) == 3
    rows[300:].rename(columns={"target": "label"}).to_csv(evaluation, index=False)
    command = next(line for line in adopted.splitlines() if line.startswith("next: ")).removeprefix("next: ")
    assert "PASS: r2=0." in machine.run(*shlex.split(command))

    origin = Origin(machine.repository.parent)
    git(machine.repository, "init", "--quiet", "--initial-branch=main")
    git(machine.repository, "add", "--all")
    assert "evaluation" not in git(machine.repository, "ls-files")
    git(machine.repository, "commit", "--quiet", "--message", "Serve it")
    git(machine.repository, "push", "--quiet", str(origin.path), "main")
    with machine.receiver():
        eventually(lambda: serving_version(port) == 1, 60)
        assert answers(port, features[300:303]) == pytest.approx(list(model.predict(features[300:303])))

        better = Ridge(alpha=0.01).fit(features[:300], answers_of[:300])
        register(machine.environment["MLFLOW_TRACKING_URI"], better, features[:300], machine.repository.parent / "v2")
        assert "PASS: r2=0." in machine.run(*shlex.split(command.replace("--version 1", "--version 2")))
        proposed = machine.run("pinrail", "promote", "staging", MODEL, "--version", "2")
        branch = f"promote/{MODEL}-v2-to-staging"
        assert f"pushed: {branch} at " in proposed
        git(machine.repository, "fetch", "--quiet", str(origin.path), branch)
        git(machine.repository, "merge", "--quiet", "--ff-only", "FETCH_HEAD")
        assert (
            "# the one line that a promotion changes"
            in (machine.repository / "environments/staging.yaml").read_text()
        )
        git(machine.repository, "push", "--quiet", str(origin.path), "main")
        eventually(lambda: serving_version(port) == 2, 60)
    assert answers(port, features[300:303]) == pytest.approx(list(better.predict(features[300:303])))


def answers(port: int, asked: pd.DataFrame) -> list[float]:
    """What the model server says to these rows."""
    body = asked.to_json(orient="records").encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: list[float] = json.load(answer)["predictions"]
        return found


def test_the_wheel_has_what_builds_the_serving_image(programs: Path, tmp_path: Path) -> None:
    script = "from receiver.targets.compose import build, project; print(build.image_name(), project.COMPOSE)"
    done = subprocess.run(
        [programs / "python", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60
    )
    image, compose = done.stdout.split()
    assert image == image_name()
    assert Path(compose).is_relative_to(programs.parent)
    assert (Path(compose) / "serving.yaml").is_file()
    assert (Path(compose).parent / "requirements/platform.txt").is_file()
