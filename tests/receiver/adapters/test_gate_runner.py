"""The gate as a program of its own, on a real registry."""

import os
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from ml.train import TrainResult
from receiver.adapters.gate_runner import GateRunner
from receiver.core.errors import Rejected, Retryable
from receiver.core.state import Slot
from tests.support.recorded_evidence import recorded_evidence

SLOT = Slot("gatehouse", "shared-churn")
FILES = {
    "environments/gatehouse.yaml": b"environment: gatehouse\nregistry: {alias: gatehouse}\n"
    b"gate: {accuracy: {min: 0.5}}\nmodels: {shared-churn: {version: 1, port: 8000}}\n"
}


def test_a_version_is_measured_and_its_evidence_is_in_the_registry(
    mlflow_server: str, trained: TrainResult, tmp_path: Path
) -> None:
    os.environ["GITHUB_TOKEN"] = "a-token-that-no-model-may-see"
    version = int(trained.model_version)
    GateRunner(mlflow_server, tmp_path / "logs").run(SLOT, version, FILES, threading.Event())
    evidence = recorded_evidence(MlflowClient(mlflow_server), SLOT.model, version, SLOT.environment)
    assert evidence is not None
    assert evidence.passed
    assert evidence.rows > 1000
    log = (tmp_path / "logs" / f"gate-shared-churn-v{version}.log").read_text()
    assert "PASS: accuracy=" in log
    assert "a-token" not in log


def test_what_cannot_be_measured_says_why(mlflow_server: str, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"could not measure shared-churn v999:\n.*evaluation failed"):
        GateRunner(mlflow_server, tmp_path / "logs").run(SLOT, 999, FILES, threading.Event())


def test_a_receiver_that_stops_ends_the_measuring(mlflow_server: str, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Retryable, match="the receiver stops"):
        GateRunner(mlflow_server, tmp_path / "logs").run(SLOT, 1, FILES, stop)


def test_rows_are_chosen_by_the_models_name(mlflow_server: str, tmp_path: Path) -> None:
    gate = GateRunner(mlflow_server, tmp_path / "logs", tmp_path)
    with pytest.raises(Rejected, match=r"no evaluation rows for shared-churn: put them into .*shared-churn.csv"):
        gate.run(SLOT, 1, FILES, threading.Event())
    (tmp_path / "shared-churn.csv").write_text("label,tenure\n")
    with pytest.raises(Rejected, match=r"shared-churn\.csv: "):
        gate.run(SLOT, 1, FILES, threading.Event())
    (tmp_path / "shared-churn").mkdir()
    with pytest.raises(Rejected, match="evaluation failed"):
        gate.run(SLOT, 1, FILES, threading.Event())
