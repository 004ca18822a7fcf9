"""Pins for models of a real registry, written into a work tree."""

import json
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from receiver.cli.adopt.adopt import Adoption, adopt_model
from receiver.cli.commands.check import read_files
from receiver.cli.starter.write import write_repository
from receiver.core.errors import Rejected, Retryable
from receiver.core.pins import read_pins
from receiver.settings import Settings
from tests.support.mlflow_server import register_version
from tests.support.ports import free_port


def model_files(output: str) -> dict[str, str]:
    columns = [{"name": "age", "type": "long"}, {"name": "city", "type": "string", "required": False}]
    described = {
        "signature": {"inputs": json.dumps(columns), "outputs": json.dumps([{"type": output}])},
        "saved_input_example_info": {"artifact_path": "example.json", "type": "dataframe"},
        "flavors": {"python_function": {}},
    }
    example = {"columns": ["age", "city"], "data": [[3, "Bonn, am Rhein"], [4, None]]}
    return {"MLmodel": yaml.safe_dump(described), "example.json": json.dumps(example)}


@pytest.fixture
def settings(tmp_path: Path, mlflow_server: str) -> Settings:
    return Settings(pinrail_state_dir=tmp_path / "state", mlflow_tracking_uri=mlflow_server)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_repository(tmp_path / "repository")
    return tmp_path / "repository"


@pytest.fixture(scope="module")
def registered(mlflow_server: str) -> MlflowClient:
    """Two versions of a classification, a regression, and a model of another kind."""
    client = MlflowClient(mlflow_server)
    for model, output in [("adopt-class", "long")] * 2 + [("adopt-number", "double"), ("adopt-time", "datetime")]:
        register_version(client, model, model_files(output))
    return client


def tree(directory: Path) -> dict[str, bytes]:
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


@pytest.mark.usefixtures("registered")
def test_the_newest_version_is_pinned_on_the_next_free_port(settings: Settings, repository: Path) -> None:
    said = adopt_model(settings, Adoption("staging", "adopt-class"), repository)
    pinned = "pins adopt-class v2 on port 8000, as a classification: it answers with long values"
    assert said.splitlines() == [
        f"environments/staging.yaml: {pinned}",
        "  Its gate is a floor: only the live version is compared with; add a limit, such as accuracy: {min: 0.8}",
        "evaluation/adopt-class.csv: put rows with answers here that it was not trained on, in place of the examples",
        "next: python -m ml.evaluate --model adopt-class --version 2",
        "then: commit environments/staging.yaml and merge it",
    ]
    adopt_model(settings, Adoption("production", "adopt-number"), repository)
    adopt_model(settings, Adoption("staging", "adopt-time"), repository)
    desired = read_pins(read_files(repository))
    pins = {p.model: p for environment in desired.environments for p in environment.models.values()}
    assert {name: pin.port for name, pin in pins.items()} == {
        "adopt-class": 8000,
        "adopt-number": 8001,
        "adopt-time": 8002,
    }
    gates = {name: {check: str(limits) for check, limits in (pin.gate or {}).items()} for name, pin in pins.items()}
    assert gates["adopt-class"].keys() == {"champion", "schema"}
    assert gates["adopt-number"].keys() == {"r2", "schema"}
    assert gates["adopt-time"] == {}


def test_the_version_of_the_environments_alias_is_pinned(
    settings: Settings, repository: Path, registered: MlflowClient
) -> None:
    registered.set_registered_model_alias("adopt-class", "production", "1")
    said = adopt_model(settings, Adoption("production", "adopt-class"), repository)
    assert "pins adopt-class v1 on port 8000" in said
    assert "--version 1 --environment production\n" in said


@pytest.mark.usefixtures("registered")
def test_the_rows_show_the_columns_and_are_never_overwritten(settings: Settings, repository: Path) -> None:
    rows = repository / "evaluation/adopt-class.csv"
    adopt_model(settings, Adoption("staging", "adopt-class"), repository)
    assert rows.read_text() == 'age,city,label\n3,"Bonn, am Rhein",\n4,,\n'
    rows.write_text("age,city,label\n1,Bonn,0\n")
    said = adopt_model(settings, Adoption("production", "adopt-class"), repository)
    assert "evaluation/adopt-class.csv: is there already" in said
    assert rows.read_text() == "age,city,label\n1,Bonn,0\n"


@pytest.mark.usefixtures("registered")
def test_what_is_in_the_way_of_the_rows_is_left_and_named(settings: Settings, repository: Path) -> None:
    (repository / "evaluation").write_text("mine")
    before = tree(repository)
    with pytest.raises(Rejected, match="evaluation: found a file, allowed a directory"):
        adopt_model(settings, Adoption("staging", "adopt-class"), repository)
    assert tree(repository) == before
    (repository / "evaluation").unlink()
    (repository / "evaluation").mkdir()
    (repository / "evaluation/adopt-class.csv").symlink_to(repository / "nowhere")
    assert "is there already" in adopt_model(settings, Adoption("staging", "adopt-class"), repository)
    assert not (repository / "nowhere").exists()


@pytest.mark.usefixtures("registered")
def test_a_kind_without_checks_gets_an_empty_gate_and_no_rows(settings: Settings, repository: Path) -> None:
    said = adopt_model(settings, Adoption("staging", "adopt-class", kind="none"), repository)
    assert "for which no check is known: --kind says so" in said
    assert "every version passes" in said
    assert not (repository / "evaluation").exists()


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Adoption("stagin", "adopt-class"), "there is no environment 'stagin': did you mean staging?"),
        (Adoption("staging", "adopt-clas"), "adopt-clas has no versions; registered models: "),
        (Adoption("staging", "adopt-class", version=9), "adopt-class has versions 1-2"),
        (Adoption("staging", "adopt-class", port=9000), "which the receiver (PINRAIL_PUBLIC_PORT) has too"),
        (Adoption("staging", "bad name"), "found the name 'bad name', allowed"),
    ],
)
def test_what_cannot_be_pinned_is_refused_and_nothing_is_written(
    settings: Settings, repository: Path, asked: Adoption, said: str
) -> None:
    before = tree(repository)
    with pytest.raises(Rejected) as caught:
        adopt_model(settings, asked, repository)
    assert said in f"{caught.value}; {caught.value.hint}"
    assert tree(repository) == before


@pytest.mark.usefixtures("registered")
def test_a_model_that_is_pinned_is_left_to_promote(settings: Settings, repository: Path) -> None:
    adopt_model(settings, Adoption("staging", "adopt-class"), repository)
    before = tree(repository)
    with pytest.raises(Rejected, match="has a pin for adopt-class already, of version 2: `pinrail promote`"):
        adopt_model(settings, Adoption("staging", "adopt-class"), repository)
    assert tree(repository) == before


def test_a_model_without_a_signature_is_refused(
    settings: Settings, repository: Path, registered: MlflowClient
) -> None:
    register_version(registered, "adopt-mute", {"MLmodel": "flavors: {}\n"})
    before = tree(repository)
    with pytest.raises(Rejected, match=r"adopt-mute v1 cannot be served: .* has no signature"):
        adopt_model(settings, Adoption("staging", "adopt-mute", kind="none"), repository)
    assert tree(repository) == before


def test_without_a_registry_nothing_is_written(settings: Settings, repository: Path) -> None:
    before = tree(repository)
    away = settings.model_copy(update={"mlflow_tracking_uri": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(Retryable):
        adopt_model(away, Adoption("staging", "adopt-class"), repository)
    assert tree(repository) == before
