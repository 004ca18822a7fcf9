"""Models of every shape, promoted by a merge on both targets, and compared with MLflow's server answer by answer."""

import http.client
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from ml.packages.build import interpreter_of
from ml.packages.store import PackageStore
from receiver.core.deployment import Outcome
from receiver.core.state import Server
from receiver.targets.compose.build import build_image
from tests.support import any_models
from tests.support.docker_engine import compose_target, owned_place, required_docker
from tests.support.mlflow_scoring import running_scoring_server, score
from tests.support.mlflow_server import register_version
from tests.support.models import Versions
from tests.support.own_environments import PROXIES, environment_or_skip, without_proxies
from tests.support.waiting import eventually
from tests.support.world import World

MODEL = "any-shape"  # of these tests alone: the registry is shared
# The MLflow of another client, two minor releases older than the one of the lock.
OLDER = "mlflow-skinny==3.15.*"
LEARNED = ("forest", "strings", "outputs", "regression", "wide", "statsmodels", any_models.OLDER)
NAMES = (*LEARNED, "frame", "dict", "params", "columns")

pytestmark = [pytest.mark.long, pytest.mark.timeout(580)]


@dataclass(frozen=True)
class Saved:
    """Models on disk, an interpreter that can load them, and what MLflow's own server answers about their rows."""

    models: Path
    answers: Mapping[str, Any]

    def files(self, name: str) -> dict[str, str | bytes]:
        found = (path for path in (self.models / name).rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(self.models / name)): path.read_bytes() for path in found}

    def request(self, name: str) -> dict[str, Any]:
        """What both servers are asked."""
        rows = json.loads((self.models / f"{name}.rows.json").read_text())
        return {"dataframe_split": rows} | ({"params": {"factor": 3.0}} if name == "params" else {})


@pytest.fixture(scope="module")
def saved() -> Iterator[Saved]:
    """On disk: an environment is half a gigabyte, and temporary directories may be in memory."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as found, without_proxies():
        directory, models = Path(found), Path(found) / "models"
        models.mkdir()
        store, packages = PackageStore(directory / "training"), (*any_models.PACKAGES, "skl2onnx", "onnxruntime")
        for arguments, mlflow in (((), "mlflow-skinny"), ((any_models.OLDER,), OLDER)):
            made = environment_or_skip(store, *packages, mlflow)
            command = [interpreter_of(made), "-P", any_models.__file__, str(models), *arguments]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
            assert done.returncode == 0, done.stderr
        python = str(interpreter_of(environment_or_skip(store, *packages, "mlflow-skinny")))
        waiting = Saved(models, {})
        with running_scoring_server([models / name for name in NAMES], directory / "mlflow.log", python) as urls:
            said = {
                name: score(url, json.dumps(waiting.request(name)).encode(), "application/json")
                for name, url in zip(NAMES, urls, strict=True)
            }
        assert {name: status for name, (status, _) in said.items() if status != 200} == {}
        yield Saved(models, {name: json.loads(text) for name, (_, text) in said.items()})


@pytest.fixture(scope="module")
def versions(saved: Saved, mlflow_server: str) -> Mapping[str, int]:
    """All of them as versions of one model, which a promotion may replace by one another."""
    client = MlflowClient(mlflow_server)
    return {name: register_version(client, MODEL, saved.files(name)) for name in (*NAMES, any_models.REFUSED)}


class Containers(World):
    """The same world, with model servers in containers."""

    servers_now: Any = None

    def servers(self) -> list[Server]:
        return list(self.servers_now.observe())

    def __exit__(self, *_: object) -> None:
        """Who owns the place removes them."""


@pytest.fixture(params=["process", pytest.param("compose", marks=pytest.mark.docker)])
def world(
    request: pytest.FixtureRequest, saved: Saved, versions: Mapping[str, int], mlflow_server: str
) -> Iterator[World]:
    first, second, third, *_ = versions.values()
    directory = saved.models.parent / request.param
    directory.mkdir()
    known = Versions(mlflow_server, MODEL, first, second, third)
    with ExitStack() as stack:
        if request.param == "process":
            found = stack.enter_context(World(directory, known, stabilise_seconds=0.2))
        else:
            docker = required_docker()
            found = Containers(directory, known, stabilise_seconds=0.2)
            place = stack.enter_context(owned_place(docker, found.state, build_image(docker)))
            found.servers_now = compose_target(docker, place)
            named = {"TARGET": "compose", "PROJECT": place.owner, "SERVING_IMAGE": place.image}
            found.environ.update({f"PINRAIL_{name}": value for name, value in named.items()})
        found.environ.update(dict.fromkeys(PROXIES, ""))
        yield found


def test_each_is_promoted_by_a_merge_and_answers_as_mlflow_does(
    world: World, saved: Saved, versions: Mapping[str, int]
) -> None:
    runtimes = {}
    with world.receiver():
        for name in NAMES:
            world.merge(versions[name])
            eventually(lambda name=name: world.agrees(versions[name]), 240)  # type: ignore[misc]
            expected = saved.answers[name]
            assert asked(world.port, "/invocations", saved.request(name)) == expected, name
            predictions = expected["predictions"]
            if name != "params":  # which /predict does not take
                said = asked(world.port, "/predict", as_records(saved.request(name)))
                assert said["predictions"] == rows_of(predictions), name
            if name in LEARNED:
                assert asked_v2(world.port, saved.request(name)) == flat(predictions), name
            runtimes[name] = world.health()["runtime"]
        assert {name for name, runtime in runtimes.items() if runtime == "pyfunc"} == ANSWERED_BY_MLFLOW
        assert "onnx" not in runtimes.values(), "none has a twin that answers alike"

        world.merge(versions[any_models.REFUSED])
        eventually(
            lambda: world.idle() and world.deployments()[0].state in {Outcome.ROLLED_BACK, Outcome.REFUSED}, 60
        )
        assert "array" in world.deployments()[0].reason
        assert world.answers() == versions[NAMES[-1]], "nothing changed"
        world.merge(versions[NAMES[0]])
        eventually(lambda: world.agrees(versions[NAMES[0]]), 60)


ANSWERED_BY_MLFLOW = {"statsmodels", "frame", "dict", "params", "columns"}


def asked(port: int, path: str, body: Any) -> Any:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text)


def as_records(request: Mapping[str, Any]) -> Any:
    table = request["dataframe_split"]
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def asked_v2(port: int, request: Mapping[str, Any]) -> list[Any]:
    table = request["dataframe_split"]
    columns = zip(table["columns"], zip(*table["data"], strict=True), strict=True)
    inputs = [
        {"name": name, "shape": [len(values)], "datatype": "FP64", "data": list(values)} for name, values in columns
    ]
    outputs = asked(port, f"/v2/models/{MODEL}/infer", {"inputs": inputs})["outputs"]
    found: list[Any] = outputs[0]["data"]
    return found


def rows_of(predictions: Any) -> Any:
    """MLflow writes a dict of columns as it is, and a Series as a table; /predict writes rows, and values."""
    if isinstance(predictions, dict):
        return [dict(zip(predictions, row, strict=True)) for row in zip(*predictions.values(), strict=True)]
    series = all(isinstance(row, dict) and list(row) == ["0"] for row in predictions)
    return [row["0"] for row in predictions] if series else predictions


def flat(predictions: Sequence[Any]) -> list[Any]:
    """Tensors of the Open Inference Protocol are written row by row."""
    rows = [list(row.values()) if isinstance(row, dict) else row for row in predictions]
    return [value for row in rows for value in (row if isinstance(row, list) else [row])]
