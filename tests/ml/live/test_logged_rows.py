"""Labelled rows of the log are a snapshot to train on, and the version says where they come from."""

import json
from pathlib import Path
from typing import Any

import pytest

from ml import snapshot
from ml.datasets import telco
from ml.live.label_store import LabelStore
from ml.live.labels import Label
from ml.live.logged_rows import labelled_rows
from ml.registry import client as tracking
from ml.snapshot import main
from ml.train import TrainOptions, train
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.state import Slot
from tests.support.request_logs import request_log
from tests.support.segments import record

SLOT = Slot("production", "churn-model")
TYPES = {int: "long", float: "double", str: "string"}
COLUMNS = [(name, TYPES[kind]) for name, kind in telco.COLUMNS.features.items()]
ROWS = 900


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real customers were asked about, by two versions; the labels of most are known, some as numbers."""
    state = tmp_path_factory.mktemp("state")
    data = telco.load()
    features = data.features.astype(object).where(data.features.notna(), None)
    asked = features.head(ROWS).to_numpy().tolist()
    for version, part in ((3, asked[:600]), (4, asked[600:])):
        answers = [0] * len(part)
        one = record(request_id=f"batch-{version}".encode(), rows=part, labels=answers, probabilities=None)
        request_log(state, [one], COLUMNS, SLOT, version=version)
    truth = data.labels[:ROWS].tolist()
    labels = [Label("batch-3", n, telco.COLUMNS.classes[code]) for n, code in enumerate(truth[:600])]
    labels += [Label("batch-4", n, f"{code}.0") for n, code in enumerate(truth[600:800])]
    LabelStore(LogDirectories(state).root).add(SLOT.model, labels)
    return LogDirectories(state).root


def snapshots(logs: Path, directory: Path, *more: str) -> int:
    slot = (SLOT.environment, SLOT.model)
    return main([str(directory), "--from-log", *slot, "--labelled", "--logs", str(logs), *more])


def test_a_version_is_trained_on_what_was_asked_and_says_so(
    logs: Path, tmp_path: Path, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert snapshots(logs, tmp_path) == 0
    training, evaluation = snapshot.read(tmp_path)
    assert len(training) + len(evaluation) == 800
    source = json.loads((tmp_path / "lineage.json").read_text())
    assert (source["environment"], source["rows"], source["versions"]) == ("production", 800, {"v3": 600, "v4": 200})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    result = train(TrainOptions(model="train-logged", snapshots=tmp_path))
    tags: dict[str, Any] = tracking.client().get_model_version("train-logged", result.model_version).tags
    assert json.loads(tags["pinrail.data.log"]) == source


def test_rows_of_another_source_are_not_taken_for_logged_ones(logs: Path, tmp_path: Path) -> None:
    assert snapshots(logs, tmp_path) == 0
    assert snapshot.lineage(tmp_path) is not None
    assert main([str(tmp_path)]) == 0
    assert snapshot.lineage(tmp_path) is None


def test_labels_that_are_no_class_and_logs_without_labels_are_refused(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--from-log", "staging", "other", "--labelled", "--logs", str(logs)]) == 1
    assert "found no labelled rows of staging/other" in capsys.readouterr().err
    state = tmp_path / "state"
    request_log(state, [record(rows=[[1, 2.0]])], [("tenure", "long"), ("monthly_charges", "double")], SLOT)
    root = LogDirectories(state).root
    for label, said in (("maybe", "is 'maybe', allowed No, Yes, 0, 1"), ("Yes", "the log has no female")):
        LabelStore(root).add(SLOT.model, [Label("id", 0, label)])
        assert snapshots(root, tmp_path / "out") == 1
        assert said in capsys.readouterr().err


def test_a_row_that_was_asked_with_several_values_under_one_id_is_no_row_to_train_on(tmp_path: Path) -> None:
    data = telco.load().features
    one, other = data.astype(object).where(data.notna(), None).head(2).to_numpy().tolist()
    for name, row in ((b"guessed", one), (b"retried", one), (b"guessed", other), (b"retried", one)):
        request_log(tmp_path, [record(request_id=name, rows=[row], labels=[0], probabilities=None)], COLUMNS, SLOT)
    root = LogDirectories(tmp_path).root
    LabelStore(root).add(SLOT.model, [Label("guessed", 0, "Yes"), Label("retried", 0, "No")])
    rows, source = labelled_rows(root, (SLOT.environment, SLOT.model), telco.COLUMNS)
    assert rows[telco.COLUMNS.label].tolist() == ["No"]
    assert source.rows == 1


@pytest.mark.parametrize("arguments", [["--from-log", "a", "b"], ["--labelled"]])
def test_both_options_go_together(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), *arguments])
