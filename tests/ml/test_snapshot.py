import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from ml import snapshot
from ml.datasets import telco
from ml.datasets.dataset import split
from ml.datasets.reference import Reference
from ml.registry import client as tracking
from ml.snapshot import main
from ml.train import TrainOptions, TrainResult, train

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
DVC = shutil.which("dvc", path=PATH)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("snapshots")
    assert main([str(directory)]) == 0
    return directory


def test_the_order_of_the_raw_file_does_not_change_a_byte(snapshots: Path, tmp_path: Path) -> None:
    header, *rows = gzip.decompress(telco.PATH.read_bytes()).decode().splitlines()
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("\n".join([header, *sorted(rows, key=lambda row: row[::-1])]))
    assert main([str(tmp_path / "other"), "--data", str(shuffled)]) == 0
    assert snapshot.checksums(tmp_path / "other") == snapshot.checksums(snapshots)


def test_snapshots_are_the_two_parts_and_the_training_data_in_a_nutshell(snapshots: Path) -> None:
    assert [part.digest for part in snapshot.read(snapshots)] == [part.digest for part in split(telco.load())]
    reference = Reference.from_json((snapshots / "reference.json").read_text())
    assert reference.digest == snapshot.read(snapshots)[0].digest


def test_the_lock_names_the_snapshots_that_this_code_makes(snapshots: Path) -> None:
    locked = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]["snapshot"]["outs"]
    assert {Path(out["path"]).name: out["md5"] for out in locked} == snapshot.checksums(snapshots)


def test_a_version_trained_on_snapshots_says_so_and_answers_alike(
    snapshots: Path, trained: TrainResult, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    result = train(TrainOptions(model="train-snapshots", snapshots=snapshots))
    assert result.predictions_digest == trained.predictions_digest
    assert result.data_digest == trained.data_digest
    tags = tracking.client().get_model_version("train-snapshots", result.model_version).tags
    assert json.loads(tags["pinrail.data.dvc"]) == snapshot.checksums(snapshots)
    assert tags["pinrail.data.evaluation"] == result.evaluation_digest
    assert len(tags["pinrail.data.revision"]) == 40


def test_a_raw_file_that_is_not_there_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--data", "nowhere.csv"]) == 1
    assert "no snapshots: nowhere.csv" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.timeout(300)  # five programs, on a machine that may be busy
@pytest.mark.skipif(DVC is None and "CI" not in os.environ, reason="dvc is not installed; CI insists on it")
def test_dvc_makes_the_same_snapshots_on_another_clone_and_a_judged_version_from_them(
    mlflow_server: str, tmp_path: Path
) -> None:
    one, other = _clone(tmp_path / "one"), _clone(tmp_path / "other")
    environ = {**os.environ, "PATH": PATH, "MLFLOW_TRACKING_URI": mlflow_server, "MODEL_NAME": "dvc-churn"}
    _run(one, environ, "repro")
    _run(other, environ, "repro", "snapshot")
    locked = [_locked(clone) for clone in (one, other)]
    assert locked[0] == locked[1]
    line = json.loads((one / "ml/data/candidate.json").read_text())
    version = MlflowClient(mlflow_server, mlflow_server).get_model_version("dvc-churn", line["model_version"])
    assert json.loads(version.tags["pinrail.data.dvc"]) == {Path(p).name: md5 for p, md5 in locked[0].items()}
    assert version.tags["pinrail.verdict.staging"] == "PASS"
    assert (one / "ml/data/reports/staging-report.html").is_file()
    _run(one, environ, "push")
    assert list((one / ".pinrail/dvc/files/md5").iterdir())


def _clone(path: Path) -> Path:
    """A repository with the files of this one that the pipeline needs, as they are now."""
    for name in ("ml", "serving", "environments", "requirements", ".dvc"):
        ignore = shutil.ignore_patterns("__pycache__", "snapshots", "reports", "candidate.json", "cache", "tmp")
        shutil.copytree(ROOT / name, path / name, ignore=ignore)
    for name in ("dvc.yaml", "dvc.lock", ".dvcignore"):
        shutil.copy(ROOT / name, path / name)
    subprocess.run(["git", "init", "-q", str(path)], check=True)
    return path


def _run(clone: Path, environ: dict[str, str], *arguments: str) -> None:
    assert DVC is not None
    done = subprocess.run(
        [DVC, *arguments], cwd=clone, env=environ, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _locked(clone: Path) -> dict[str, str]:
    lock: dict[str, Any] = yaml.safe_load((clone / "dvc.lock").read_text())
    return {out["path"]: out["md5"] for out in lock["stages"]["snapshot"]["outs"]}
