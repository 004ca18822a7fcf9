"""A model is somebody else's code: whatever it does, the verdict is the gate's, and nothing of it stays."""

import contextlib
import os
import resource
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from ml.errors import MlError
from ml.evaluation.server_process import Limits, serving
from receiver.adapters.gate_runner import GateRunner
from receiver.core.state import Slot
from tests.support import hostile_models as hostile
from tests.support.recorded_evidence import recorded_evidence
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc").exists(), reason="orphans are found on Linux only"),
]

PLENTY = Limits(seconds=120, megabytes=8000)
ROWS = [{"n": n} for n in range(10)]
SLOT = Slot("court", "hostile")
FILES = {
    "environments/court.yaml": b"environment: court\nregistry: {alias: court}\n"
    b"gate: {accuracy: {min: 0.99}}\nmodels: {hostile: {version: 1, port: 8000}}\n"
}


GRANDCHILD = 3605 + os.getpid() / 1e6  # seconds, by which it is found: a confined model can leave no note


def sleeping(seconds: str = f"{GRANDCHILD:f}") -> list[str]:
    """The processes that run ``sleep`` for so long."""
    wanted = f"sleep\0{seconds}\0".encode()
    return [process.name for process in Path("/proc").iterdir() if process.name.isdigit() and _runs(process, wanted)]


def _runs(process: Path, command: bytes) -> bool:
    with contextlib.suppress(OSError):  # it has ended
        return (process / "cmdline").read_bytes() == command
    return False


def test_a_model_that_replaces_the_gates_checks_is_judged_by_the_real_ones(
    mlflow_server: str, tmp_path: Path
) -> None:
    """It also prints 400 MB, leaves a grandchild, and kills the process that watches over it."""
    client = MlflowClient(mlflow_server)
    leaves_a_grandchild = hostile.LEAVES_A_GRANDCHILD.format(seconds=f"{GRANDCHILD:f}")
    load = hostile.REPLACES_THE_CHECKS + hostile.PRINTS_400_MB + leaves_a_grandchild
    version = hostile.register(client, SLOT.model, load)
    (tmp_path / "hostile.csv").write_text("n,label\n" + "".join(f"{n},{n % 2}\n" for n in range(100)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    GateRunner(mlflow_server, tmp_path / "logs", tmp_path).run(SLOT, version, FILES, threading.Event())
    evidence = recorded_evidence(client, SLOT.model, version, SLOT.environment)
    assert evidence is not None
    assert [str(v) for v in evidence.verdicts] == ["FAIL: accuracy=0.5 < 0.99"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes"
    assert sleeping() == []
    killing = load + hostile.KILLS_ITS_PARENT
    version = hostile.register(client, SLOT.model, killing)
    with pytest.raises(Exception, match=r"the server of hostile v\d+ ended"):
        GateRunner(mlflow_server, tmp_path / "logs", tmp_path).run(SLOT, version, FILES, threading.Event())
    assert sleeping() == []


def test_what_a_model_prints_is_read_and_not_kept(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with serving(hostile.cached(hostile.PRINTS_400_MB, tmp_path), PLENTY) as server:
        assert server.predict_records(ROWS).labels.tolist() == [0] * 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes"


def test_a_grandchild_in_a_session_of_its_own_ends_with_its_server(tmp_path: Path) -> None:
    load = hostile.LEAVES_A_GRANDCHILD.format(seconds=f"{GRANDCHILD:f}")
    with serving(hostile.cached(load, tmp_path), PLENTY):
        eventually(lambda: len(sleeping()) == 1)
    assert sleeping() == []


def test_an_answer_that_never_ends_is_cut_by_its_size(tmp_path: Path) -> None:
    artifacts = hostile.cached(hostile.ANSWERS_FOREVER.format(bytes=1_000_000, seconds=0), tmp_path)
    with (
        serving(artifacts, PLENTY) as server,
        pytest.raises(MlError, match="the answer to POST /predict is over 32 MB"),
    ):
        server.predict_records(ROWS)


def test_an_answer_that_trickles_is_cut_by_its_time(tmp_path: Path) -> None:
    artifacts = hostile.cached(hostile.ANSWERS_FOREVER.format(bytes=1, seconds=0.1), tmp_path)
    start = time.monotonic()
    took_longer = "the server of hostile v1 took longer than 12 s, and was ended"
    with pytest.raises(MlError, match=took_longer), serving(artifacts, Limits(seconds=12, megabytes=8000)) as server:
        server.predict_records(ROWS)
    assert time.monotonic() - start < 30


def test_a_model_that_takes_too_much_memory_is_ended(tmp_path: Path) -> None:
    artifacts = hostile.cached(hostile.TAKES_700_MB, tmp_path)
    with pytest.raises(MlError, match="took more memory than 600 MB"), serving(artifacts, Limits(120, 600)):
        pass


def test_a_model_that_starts_too_many_processes_is_ended(tmp_path: Path) -> None:
    artifacts = hostile.cached(hostile.STARTS_300_PROCESSES, tmp_path)
    with pytest.raises(MlError, match=r"started more than \d+ processes"), serving(artifacts, PLENTY):
        pass
    assert sleeping("3607") == []
