"""The process target and the prober with what they are for: a real model, started as the receiver starts it."""

import json
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from ml.train import TrainResult
from receiver.adapters.prober import HttpProber
from receiver.core.errors import Rejected
from receiver.core.state import ServerSpec, Slot
from receiver.targets.process.target import ProcessTarget
from serving.inference_log.settings import LogSettings
from serving.model.loader import Cache
from serving.model.model_dir import input_example
from tests.support.ports import free_port
from tests.support.segments import recorded, segments
from tests.support.waiting import eventually


def spec_of(trained: TrainResult) -> ServerSpec:
    slot = Slot("staging", trained.model)
    return ServerSpec(slot, int(trained.model_version), trained.digest, "Staging", free_port(), "c" * 40)


def test_a_trained_model_is_started_proven_given_traffic_and_watched(
    state: Path, trained: TrainResult, mlflow_server: str
) -> None:
    spec = spec_of(trained)
    artifacts = Cache(state / "cache", mlflow_server).obtain(trained.model, spec.version, trained.digest)
    target, prober = ProcessTarget(state), HttpProber()
    began = time.monotonic()
    server = target.start(spec)
    assert time.monotonic() - began < 20
    prober.prove(server, artifacts)
    target.switch(server)
    prober.watch(server, 0.5)
    target.retire(server)
    assert target.observe() == []


def test_artifacts_that_are_not_on_this_machine_are_named_in_the_log_tail(
    state: Path, trained: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the receiver's, and not its servers'
    spec = spec_of(trained)
    missing = ServerSpec(spec.slot, 999, "sha256:" + "0" * 64, spec.stage, spec.port, spec.revision)
    target = ProcessTarget(state)
    with pytest.raises(Rejected, match=r"(?s)ended with exit status 1.*version 999 cannot be served: .* is not in "):
        target.start(missing)


def test_a_server_records_what_clients_ask_and_not_what_the_prober_does(
    state: Path, trained: TrainResult, mlflow_server: str
) -> None:
    spec = replace(spec_of(trained), log=LogSettings(drop=("tenure",)).to_json())
    artifacts = Cache(state / "cache", mlflow_server).obtain(trained.model, spec.version, trained.digest)
    target, prober = ProcessTarget(state), HttpProber()
    server = target.start(spec)
    prober.prove(server, artifacts)
    target.switch(server)
    (state / "servers" / f"{server.id}.jsonl").unlink()
    assert [found.spec for found in target.observe()] == [spec], "what it records is known after its record was lost"
    body = json.dumps(input_example(artifacts)[:1]).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{spec.port}/predict", body, {"Content-Type": "application/json", "User-Agent": "shop"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        request_id = answer.headers["X-Request-ID"]
    target.retire(server)
    directory = state / "inference" / "segments" / spec.slot.environment / spec.slot.model
    eventually(lambda: segments(directory))
    (record,) = recorded(directory)
    assert (record.request_id, record.caller, record.status) == (request_id.encode(), b"shop", 200)
    assert target.observe() == []
