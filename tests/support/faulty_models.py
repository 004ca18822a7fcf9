"""Churn versions that are each wrong in one way, made from the real pipeline and registered like real ones."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.pipeline import Pipeline

from ml import onnx_twin
from ml.datasets import telco
from ml.datasets.dataset import Columns, Dataset, split
from ml.registry import versions as registry
from ml.training import package, pipeline
from ml.training.fit import Fitted

Parts = tuple[Dataset, Dataset]
Made = tuple[Pipeline, Columns]


def good(parts: Parts) -> Made:
    """What ml.train makes."""
    model = pipeline.build(telco.COLUMNS, regularisation=1.0, seed=0)
    return model.fit(parts[0].features, parts[0].labels), telco.COLUMNS


def inaccurate(parts: Parts) -> Made:
    """Regularised until it always says No."""
    model = pipeline.build(telco.COLUMNS, regularisation=1e-9, seed=0)
    return model.fit(parts[0].features, parts[0].labels), telco.COLUMNS


def unfair(parts: Parts) -> Made:
    """Taught that old people always leave."""
    model = pipeline.build(telco.COLUMNS, regularisation=1.0, seed=0)
    old = parts[0].features["senior_citizen"].to_numpy() == 1
    return model.fit(parts[0].features, np.where(old, 1, parts[0].labels)), telco.COLUMNS


def brittle(parts: Parts) -> Made:
    """Fails on a category that it has not seen."""
    model = pipeline.build(telco.COLUMNS, regularisation=1.0, seed=0)
    model.named_steps["prepare"].transformers[2][1].set_params(handle_unknown="error")
    return model.fit(parts[0].features, parts[0].labels), telco.COLUMNS


def breaking(parts: Parts) -> Made:
    """Takes no `partner`."""
    features = {name: kind for name, kind in telco.COLUMNS.features.items() if name != "partner"}
    columns = replace(telco.COLUMNS, features=features)
    model = pipeline.build(columns, regularisation=1.0, seed=0)
    return model.fit(parts[0].features[list(features)], parts[0].labels), columns


def demanding(parts: Parts) -> Made:
    """Needs `total_charges`, which some rows do not have."""
    columns = replace(telco.COLUMNS, missing=frozenset())
    model = pipeline.build(columns, regularisation=1.0, seed=0)
    return model.fit(parts[0].features, parts[0].labels), columns


ALL: Mapping[str, Callable[[Parts], Made]] = {
    make.__name__: make for make in (good, inaccurate, unfair, brittle, breaking, demanding)
}


def slow(directory: Path, _: Parts) -> None:
    """Without its twin, so that scikit-learn has to answer."""
    shutil.rmtree(directory / "onnx")


def mismatched(directory: Path, parts: Parts) -> None:
    """With the twin of another model."""
    assert onnx_twin.add(unfair(parts)[0], parts[1].features, directory) is None


def without_example(directory: Path, _: Parts) -> None:
    """Logged without an input example."""
    described = yaml.safe_load((directory / "MLmodel").read_text())
    del described["saved_input_example_info"]
    (directory / "MLmodel").write_text(yaml.safe_dump(described))


def unloadable(directory: Path, _: Parts) -> None:
    """Written by a library that is no longer here."""
    shutil.rmtree(directory / "onnx")
    (directory / "model.skops").write_bytes(b"not a model")


# What is done to the files of the good one.
SPOILED: Mapping[str, Callable[[Path, Parts], None]] = {
    spoil.__name__: spoil for spoil in (slow, mismatched, without_example, unloadable)
}


def register(client: Any, model: str, name: str) -> int:
    """Make the version called ``name`` in :data:`ALL` or :data:`SPOILED` and register it; its number."""
    training, evaluation = split(telco.load())
    made, columns = ALL.get(name, good)((training, evaluation))
    names = list(columns.features)
    fitted = Fitted(
        pipeline=made,
        training=replace(training, features=training.features[names]),
        evaluation=replace(evaluation, features=evaluation.features[names]),
        metrics={},
        predictions_digest="",
    )
    run_id = client.create_run("0", run_name=name).info.run_id
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "model"
        package.write(fitted, columns, run_id, directory)
        if name in SPOILED:
            SPOILED[name](directory, (training, evaluation))
        client.log_artifacts(run_id, str(directory), "model")
    client.set_terminated(run_id)
    return registry.register(client, model, run_id, {})
