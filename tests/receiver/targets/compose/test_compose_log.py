"""The inference log of a real model in a real container, from its answer to Parquet."""

import json
import shutil
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from receiver.adapters.inference_log.collector import LogCollector
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.state import ServerSpec, Slot
from receiver.targets.compose.build import build_image
from serving.inference_log.settings import LogSettings
from serving.model.digest import digest_tree
from serving.model.loader import Cache
from tests.support import small_models
from tests.support.docker_engine import compose_target, owned_place, required_docker
from tests.support.ports import free_port
from tests.support.segments import recorded, segments
from tests.support.waiting import eventually

SLOT = Slot("staging", "small")
GOOD = {"age": 30, "income": 2500.5, "balance": -1.0, "city": "Köln", "plan": "plus"}


@pytest.mark.docker
@pytest.mark.timeout(300)
def test_what_a_container_answers_is_recorded_with_hashes_of_its_key(tmp_path: Path) -> None:
    docker = required_docker()
    small_models.save_classifier(tmp_path / "model")
    digest = digest_tree(tmp_path / "model")
    with owned_place(docker, tmp_path / "state", build_image(docker)) as place:
        artifacts = Cache(place.cache).path_of(digest)
        artifacts.parent.mkdir(parents=True)
        shutil.copytree(tmp_path / "model", artifacts)
        log = LogSettings(hash=("plan",)).to_json()
        spec = replace(ServerSpec(SLOT, 3, digest, "Staging", free_port(), "c" * 40), log=log)
        target = compose_target(docker, place)
        server = target.start(spec)
        target.switch(server)
        url, kind = f"http://127.0.0.1:{spec.port}/predict", {"Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(GOOD).encode(), kind)
        with urllib.request.urlopen(request, timeout=10) as answer:
            request_id = answer.headers["X-Request-ID"]
        directories = LogDirectories(place.state)
        eventually(lambda: segments(directories.segments(SLOT)), 10)
        (found,) = recorded(directories.segments(SLOT))
        assert found.request_id == request_id.encode()
        LogCollector(directories, dict).run(threading.Event())
        target.retire(server)
        (part,) = directories.parquet(SLOT).rglob("*.parquet")
    (row,) = pq.read_table(part, partitioning=None).to_pylist()
    assert (row["_request_id"], row["age"], row["city"]) == (request_id, 30, "Köln")
    assert len(row["plan"]) == 32
