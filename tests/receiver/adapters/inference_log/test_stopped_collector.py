"""A collector that stands still costs records and no answer."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.inference_log import log as inference_log
from serving.inference_log.log import InferenceLog, LogLimits
from serving.inference_log.settings import LogSettings
from serving.model import model_dir
from tests.receiver.adapters.inference_log.test_collector import Place
from tests.serving.conftest import serve
from tests.support import small_models
from tests.support.asgi import post
from tests.support.waiting import eventually

GOOD = {"age": 30, "income": 2500.5, "balance": -1.0, "city": "Köln", "plan": "plus"}
COLLECTOR = """
import sys, threading
from pathlib import Path
from receiver.adapters.inference_log.collector import LogCollector
from receiver.adapters.inference_log.directories import LogDirectories
collector, pause = LogCollector(LogDirectories(Path(sys.argv[1])), dict), threading.Event()
while True:
    collector.run(threading.Event())
    pause.wait(0.05)
"""


@contextlib.contextmanager
def collecting(state: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-P", "-c", COLLECTOR, state]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_answers_go_on_while_the_collector_is_stopped_and_collection_does_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_log, "SEGMENT_SECONDS", 0.01)
    small_models.save_classifier(tmp_path / "model")
    place = Place(tmp_path / "state")
    served = 3, "sha256:00", model_dir.read(tmp_path / "model").columns
    log = InferenceLog(LogSettings(), place.source, served, LogLimits(waiting_bytes=3000))
    app = serve(tmp_path / "model", log)

    def lost() -> int:
        assert post(app, "/predict", GOOD).status == 200
        return log.metrics.dropped["uncollected"]

    with collecting(tmp_path / "state") as process:
        assert post(app, "/predict", GOOD).status == 200
        eventually(place.ids, 30)
        os.kill(process.pid, signal.SIGSTOP)
        eventually(lost, 30)
        waiting = sum(path.stat().st_size for path in place.source.glob("*.segment"))
        assert waiting <= 3000
        os.kill(process.pid, signal.SIGCONT)
        log.close()
        eventually(lambda: len(place.ids()) == log.metrics.recorded, 30)
