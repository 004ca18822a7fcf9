import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ml import onnx_twin
from ml.datasets import reference, telco
from ml.datasets.dataset import split
from ml.registry import client as tracking
from ml.train import TrainResult, main
from serving.model.digest import digest_tree
from serving.model.loader import Cache
from tests.support.mlflow_server import AuthServer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)


@pytest.fixture
def artifacts(trained: TrainResult, server: None, tmp_path: Path) -> Path:
    return Cache(tmp_path).fetch(trained.model, int(trained.model_version)).path


@pytest.mark.usefixtures("server")
def test_training_prints_one_json_line_and_nothing_else_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_NAME", "train-prints")
    monkeypatch.setenv("DATA_VERSION", "customers of spring")
    assert main([]) == 0
    out = capfd.readouterr().out
    line = json.loads(out)
    assert out.count("\n") == 1
    assert line["model_version"] == "1"
    assert line["model"] == "train-prints"
    assert 0.80 <= line["accuracy"] < 0.82
    client = tracking.client()
    run = client.get_run(line["run_id"])
    assert run.info.status == "FINISHED"
    prefix, _, stamp = run.info.run_name.partition("-")
    assert prefix == "candidate"
    assert abs(int(stamp) - time.time()) < 300
    assert run.data.params["data_version"] == "customers of spring"
    assert run.data.params["data_digest"] == line["data_digest"]
    assert run.data.metrics["accuracy"] == pytest.approx(line["accuracy"], abs=5e-5)
    version = client.get_model_version("train-prints", "1")
    assert version.status == "READY"
    assert version.tags["data_version"] == "customers of spring"


@pytest.mark.usefixtures("server")
def test_neither_the_order_of_rows_nor_of_columns_matters_and_one_seed_gives_one_answer(
    trained: TrainResult,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    header, *rows = [line.split(",") for line in gzip.decompress(telco.PATH.read_bytes()).decode().splitlines()]
    rows.sort(key=lambda row: row[::-1])
    order = sorted(range(len(header)), key=header.__getitem__, reverse=True)
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("\n".join(",".join(row[i] for i in order) for row in [header, *rows]))
    monkeypatch.setenv("MODEL_NAME", "train-shuffled")
    assert main(["--data", str(shuffled), "--seed", "0"]) == 0
    line = json.loads(capfd.readouterr().out)
    assert line["data_digest"] == trained.data_digest
    assert line["predictions_digest"] == trained.predictions_digest


@pytest.mark.usefixtures("server")
def test_the_tag_of_the_version_is_the_digest_of_what_is_downloaded(trained: TrainResult, artifacts: Path) -> None:
    assert digest_tree(artifacts) == trained.digest
    version = tracking.client().get_model_version(trained.model, trained.model_version)
    assert version.tags["pinrail.digest"] == trained.digest


def test_the_signature_takes_a_missing_value_where_the_data_has_some_and_nowhere_else(artifacts: Path) -> None:
    from mlflow.models import Model

    inputs = Model.load(str(artifacts)).get_input_schema().inputs
    assert [column.name for column in inputs] == list(telco.COLUMNS.features)
    assert [column.name for column in inputs if not column.required] == ["total_charges"]
    assert {column.name: column.type.name for column in inputs}["total_charges"] == "double"


def test_the_onnx_twin_lies_beside_the_model_and_answers_alike(artifacts: Path) -> None:
    import mlflow.sklearn
    import onnxruntime

    model = mlflow.sklearn.load_model(str(artifacts))
    session = onnxruntime.InferenceSession(artifacts / onnx_twin.PATH, providers=["CPUExecutionProvider"])
    _, rows = split(telco.load())
    kinds = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(string)": object}
    feed = {
        column.name: rows.features[column.name].to_numpy(dtype=kinds[column.type]).reshape(-1, 1)
        for column in session.get_inputs()
    }
    assert list(feed) == list(telco.COLUMNS.features)
    labels, probabilities = session.run(None, feed)
    assert np.array_equal(labels, model.predict(rows.features))
    assert np.abs(probabilities - model.predict_proba(rows.features)).max() < onnx_twin.TOLERANCE


def test_what_trained_the_model_is_recorded_inside_it(trained: TrainResult, artifacts: Path) -> None:
    found = reference.Reference.from_json((artifacts / reference.PATH).read_text())
    assert found.rows == len(split(telco.load())[0])
    assert list(found.columns) == list(telco.COLUMNS.features)
    assert found.columns["total_charges"].missing > 0
    assert trained.digest == digest_tree(artifacts)


def test_the_model_is_no_pickle(artifacts: Path) -> None:
    assert not [path.name for path in artifacts.rglob("*") if path.suffix in {".pkl", ".pickle", ".joblib"}]


def test_a_model_that_cannot_be_converted_has_no_twin_and_says_why(tmp_path: Path) -> None:
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    _, rows = split(telco.load())
    why = onnx_twin.add(Pipeline([("own", FunctionTransformer(np.sum))]), rows.features, tmp_path)
    assert why is not None
    assert why.startswith("no ONNX twin: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "http://someone:secret@127.0.0.1:9"])
def test_no_tracking_server_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main([]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "no answer from MLflow at http://127.0.0.1:9: is it running there?" in err
    assert "Traceback" not in err
    assert "secret" not in err


@pytest.mark.parametrize(
    "credentials", [{}, {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "guess"}]
)
def test_a_registry_that_refuses_us_says_which_variables_to_set(
    mlflow_auth_server: AuthServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    credentials: dict[str, str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_auth_server.url)
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "refused our credentials: set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME" in err
    assert "guess" not in err


def test_a_token_where_a_name_and_password_are_wanted_is_named_as_the_likely_reason(
    mlflow_auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_auth_server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "my-token")
    assert main([]) == 1
    err = capfd.readouterr().err
    assert "answers 500" in err
    assert "a token instead of a name and password" in err
    assert "my-token" not in err


def test_a_registry_with_authentication_is_trained_into_by_name_and_password(
    mlflow_auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_auth_server.url)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", mlflow_auth_server.username)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", mlflow_auth_server.password)
    monkeypatch.setenv("MODEL_NAME", "train-auth")
    assert main([]) == 0
    assert json.loads(capfd.readouterr().out)["model_version"] == "1"


def test_a_name_that_no_pin_could_have_is_refused_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_NAME", "churn' or name = '\x1b[31m")
    assert main([]) == 1
    err = capfd.readouterr().err
    assert "is not a valid model name" in err
    assert "\x1b" not in err


def test_a_data_file_that_is_wrong_is_one_clear_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", "nowhere.csv"]) == 1
    assert "nowhere.csv" in capfd.readouterr().err


@pytest.mark.parametrize("module", ["ml.train", "ml.evaluate", "ml.snapshot"])
def test_help_is_quick(module: str) -> None:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert time.perf_counter() - start < 1
    assert done.stdout.startswith(f"usage: python -m {module}")


def test_the_env_file_is_read_as_the_receiver_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_NAME", "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("MODEL_NAME=a&$b\n")
    assert main([]) == 1
    assert "'a&$b' is not a valid model name" in capsys.readouterr().err


def test_an_interrupted_training_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ml.train.train", interrupt)
    assert main([]) == 130
    assert capsys.readouterr().err == "training interrupted\n"
