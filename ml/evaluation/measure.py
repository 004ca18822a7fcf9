"""Prepare a version for the checks: have its own server answer every row. Nothing here loads a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ml.datasets.dataset import Dataset
from ml.datasets.evaluation_set import ReadRows
from ml.datasets.reference import Reference, read_reference
from ml.errors import MlError
from ml.evaluation.records import to_records
from ml.evaluation.server_process import Artifacts, Limits, VersionServer, serving
from ml.gates.champion import incomparable
from ml.gates.subject import Champion, Record, Subject
from serving.errors import ServingError
from serving.model import model_dir
from serving.model.model_dir import Column, ModelDir


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """What the files of a version say of it, and the rows that suit it. Read before anything of it runs."""

    name: str
    model: ModelDir
    outputs: str
    reference: Reference | None
    example: Sequence[Record]
    data: Dataset
    records: Sequence[Record]


def describe(artifacts: Artifacts, path: Path, rows: ReadRows) -> Described:
    """Read the version at ``path`` and the rows for it. MlError: it is not described as a model, or has none."""
    try:
        model = model_dir.read(path)
        outputs = model_dir.describe_outputs(path)
        example = model_dir.input_example(path)
        data = rows(model)
        _require_values(model.columns, data.features)
    except (ServingError, MlError) as error:
        raise MlError(f"{artifacts.name} can't be measured: {error}") from error
    records = to_records(data.features, model.columns)
    return Described(artifacts.name, model, outputs, read_reference(path), example, data, records)


def measure(server: VersionServer, described: Described, *, costs: bool) -> Subject:
    """Ask a version about its rows; ``costs``: measure first what its server takes. MlError: it has no answer."""
    try:
        served = server.measure(described.records) if costs else None
        answers = server.predict_records(described.records)
    except MlError as error:
        raise MlError(f"{described.name} can't be measured: {error}") from error
    return Subject(
        name=described.name,
        data=described.data,
        records=described.records,
        predictor=server,
        answers=answers,
        columns=described.model.columns,
        outputs=described.outputs,
        reference=described.reference,
        served=served,
    )


def load_champion(artifacts: Artifacts, path: Path, subject: Subject, limits: Limits) -> Champion:
    """Ask the live version about the same rows. If it can't answer them, the reason is recorded."""
    name, columns, outputs = artifacts.name, tuple[Column, ...](), ""
    try:
        columns, outputs = tuple(model_dir.read(path).columns), model_dir.describe_outputs(path)
        _require_values(columns, subject.data.features)
        with serving(artifacts, limits) as server:
            answers = server.predict_records(to_records(subject.data.features, columns))
            return Champion(name, columns, outputs, answers, version=artifacts.version)
    except (ServingError, MlError) as error:
        reason = incomparable(name, subject.name, str(error))
        return Champion(name, columns, outputs, None, reason, artifacts.version)


def _require_values(columns: Sequence[Column], features: pd.DataFrame) -> None:
    """MlError: rows lack what the signature requires, so that no caller could send them."""
    required = [column.name for column in columns if column.required]
    if lacking := [name for name in required if name not in features]:
        raise MlError(f"these rows have no {', '.join(lacking)}")
    for name in required:
        if missing := int(features[name].isna().sum()):
            raise MlError(f"{missing:,} of these rows have no {name}, which its signature requires")
