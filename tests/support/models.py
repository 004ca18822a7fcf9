"""Versions of one model for end-to-end tests: two good ones and one that fails after some requests."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow import MlflowClient

from ml.registry.versions import register
from receiver.cli.demo.broken import register_broken
from serving.model.loader import Cache
from tests.support.mlflow_server import register_version
from tests.support.trained import train_into


@dataclass(frozen=True)
class Versions:
    """Registered versions that tests promote."""

    tracking_uri: str
    model: str
    good: int
    better: int
    tiring: int  # answers at first, and then no more


def register_versions(tracking_uri: str, model: str, scratch: Path) -> Versions:
    """Train two versions and make a broken one."""
    good = int(train_into(tracking_uri, model).model_version)
    better = int(train_into(tracking_uri, model).model_version)
    like = Cache(scratch / "cache", tracking_uri).fetch(model, good).path
    return Versions(tracking_uri, model, good, better, register_broken(MlflowClient(tracking_uri), model, like))


def registered_again(versions: Versions, model: str) -> Versions:
    """The same runs as versions of another model, whose aliases and stages are somebody else's business."""
    client = MlflowClient(versions.tracking_uri)
    runs = [
        client.get_model_version(versions.model, str(version)).run_id
        for version in (versions.good, versions.better, versions.tiring)
    ]
    good, better, tiring = (register(client, model, run, {}) for run in runs)
    return replace(versions, model=model, good=good, better=better, tiring=tiring)


def register_artifact_only(tracking_uri: str, model: str) -> Versions:
    """Three versions with all that a receiver wants to see of artifacts, for servers that need no model."""
    client = MlflowClient(tracking_uri)
    good, better, tiring = (
        register_version(client, model, {**artifact_only_files(), "weights.txt": name})
        for name in ("good", "better", "tiring")
    )
    return Versions(tracking_uri, model, good, better, tiring)


def artifact_only_files() -> dict[str, str]:
    """A model directory without a model: a signature, and an example of two rows."""
    signature = {"inputs": json.dumps([{"name": "tenure", "type": "long", "required": True}])}
    example = {"artifact_path": "input_example.json", "type": "dataframe", "pandas_orient": "split"}
    described = {"signature": signature, "saved_input_example_info": example, "flavors": {}}
    rows = {"columns": ["tenure"], "data": [[30], [2]]}
    return {"MLmodel": json.dumps(described), "input_example.json": json.dumps(rows)}
