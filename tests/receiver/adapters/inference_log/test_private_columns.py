"""Dropped and hashed columns are in no file below the state directory, whatever is asked and whatever fails."""

import json
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ml.environment.file import LogPolicy
from receiver.adapters.inference_log.collector import LogCollector
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.state import ServerSpec, Slot
from receiver.targets.process.target import ProcessTarget
from serving.inference_log.settings import LogSettings
from serving.model.digest import digest_tree
from serving.model.loader import Cache
from tests.support import small_models
from tests.support.ports import free_port
from tests.support.process_target import cleaned_up
from tests.support.segments import segments
from tests.support.waiting import eventually

SLOT = Slot("staging", "small")
DROPPED, HASHED = "canary-dropped-51a7", "canary-hashed-93be"
CANARIES = (DROPPED, HASHED, "7351946280")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    with cleaned_up(tmp_path / "state") as directory:
        directory.mkdir()
        yield directory


@pytest.fixture
def spec(state: Path, tmp_path: Path) -> ServerSpec:
    """A model that names an unseen text in its error."""
    small_models.save_classifier(tmp_path / "model", twin=False, unseen="error")
    digest = digest_tree(tmp_path / "model")
    place = Cache(state / "cache").path_of(digest)
    place.parent.mkdir(parents=True)
    shutil.copytree(tmp_path / "model", place)
    log = LogSettings(drop=("city", "age"), hash=("plan",)).to_json()
    return replace(ServerSpec(SLOT, 3, digest, "Staging", free_port(), "c" * 40), log=log)


def ask(spec: ServerSpec, path: str, body: Any) -> int:
    url = f"http://127.0.0.1:{spec.port}{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_canary_is_found_in_no_file(state: Path, spec: ServerSpec) -> None:
    target = ProcessTarget(state)
    server = target.start(spec)
    target.switch(server)
    sound = {"age": 7351946280, "income": 2500.5, "balance": -1.0, "city": "Köln", "plan": "plus"}
    private = {**sound, "city": DROPPED, "plan": HASHED}
    assert ask(spec, "/predict", sound) == 200
    assert ask(spec, "/predict", private) == 500  # the model names the text that it has not seen
    assert ask(spec, "/predict", [sound] * 100 + [private]) == 500  # recorded by the thread
    assert ask(spec, "/predict", {**private, "balance": HASHED, "income": DROPPED}) == 422
    assert ask(spec, "/predict", {DROPPED: HASHED}) == 422
    assert ask(spec, "/invocations", {"dataframe_records": [private]}) == 500
    assert ask(spec, "/v2/models/small/infer", {"inputs": [{"name": DROPPED, "data": [HASHED]}]}) == 400
    target.retire(server)
    directories = LogDirectories(state)
    eventually(lambda: segments(directories.segments(SLOT)))
    assert_no_canaries(state)
    LogCollector(directories, lambda: {SLOT: LogPolicy()}).run(threading.Event())
    assert_no_canaries(state)
    rows = [row for part in state.rglob("*.parquet") for row in pq.read_table(part, partitioning=None).to_pylist()]
    assert {row["_status"] for row in rows} == {200, 400, 422, 500}
    assert len({row["plan"] for row in rows if row["plan"]}) == 2
    assert "city" not in rows[0]
    assert "unknown categories" not in next((state / "logs").glob("*.log")).read_text(encoding="utf-8")
    assert target.observe() == []


def assert_no_canaries(state: Path) -> None:
    files = [path for path in state.rglob("*") if path.is_file()]
    assert len(files) > 3
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += repr(pq.read_table(path, partitioning=None).to_pylist()).encode()
        for canary in CANARIES:
            assert canary.encode() not in content, path
    # The search finds what it looks for.
    assert any(b"Pipeline" in path.read_bytes() for path in files)
