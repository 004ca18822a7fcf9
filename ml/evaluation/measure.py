"""Prepare a version for the checks: load it as a server would and let it answer every row."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ml import reference
from ml.datasets.evaluation_set import ReadRows
from ml.errors import MlError
from ml.evaluation.server_process import Artifacts, measure
from ml.gates.answers import Answers
from ml.gates.champion import incomparable
from ml.gates.subject import Champion, Record, Subject
from serving.errors import ServingError
from serving.model import model_dir
from serving.model.model_dir import Column, describe_outputs
from serving.model.predictor import Predictor, load_predictor


@dataclass(frozen=True, slots=True)
class InProcess:
    """A loaded model, which answers as its server would."""

    predictor: Predictor

    def predict_records(self, records: Sequence[Record]) -> Answers:
        """Answer rows as a caller would send them."""
        said = self.predictor.predict_records(records)
        return Answers.of(said.labels.tolist(), said.probabilities, self.predictor.runtime.classes)


def load_subject(artifacts: Artifacts, path: Path, rows: ReadRows) -> Subject:
    """Load the version at ``path`` and ask it about ``rows``. MlError: it can't be loaded, or has no answer."""
    name = f"{artifacts.model} v{artifacts.version}"
    try:
        predictor = load_predictor(path)
        data = rows(predictor.model)
        records = to_records(data.features[[c.name for c in predictor.model.columns if c.name in data.features]])
        asking = InProcess(predictor)
        answers = asking.predict_records(records)
    except ServingError as error:
        raise MlError(f"{name} can't be measured: {error}") from error
    return Subject(
        name=name,
        data=data,
        records=records,
        predictor=asking,
        answers=answers,
        columns=predictor.model.columns,
        outputs=describe_outputs(path),
        reference=read_reference(path),
        serve=functools.cache(lambda: measure(artifacts, records)),
    )


def load_champion(name: str, path: Path, subject: Subject) -> Champion:
    """Load the live version and ask it about the same rows. If it can't answer them, the reason is recorded."""
    columns: Sequence[Column] = ()
    outputs = ""
    try:
        model = model_dir.read(path)
        columns, outputs = model.columns, describe_outputs(path)
        features = subject.data.features
        if lacking := [c.name for c in columns if c.required and c.name not in features]:
            reason = incomparable(name, subject.name, f"these rows have no {', '.join(lacking)}")
            return Champion(name, columns, outputs, None, reason)
        records = to_records(features[[c.name for c in columns if c.name in features]])
        return Champion(name, columns, outputs, InProcess(load_predictor(path)).predict_records(records))
    except Exception as error:  # noqa: BLE001 - pickled by another library, or made for other columns: anything
        said = (str(error).strip() or repr(error)).splitlines()[0][:300]
        return Champion(name, columns, outputs, None, incomparable(name, subject.name, said))


def read_reference(path: Path) -> reference.Reference | None:
    """Read what the version records of its training data. MlError: the record is unreadable."""
    places = (path / reference.PATH, path / reference.EXTRA_FILE)
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return None
    try:
        return reference.Reference.from_json(file.read_text())
    except ValueError as error:
        raise MlError(f"{file.relative_to(path)} of the version: {error}") from error


def to_records(features: pd.DataFrame) -> list[Record]:
    """Return rows as a caller would send them: plain Python values, None for what is missing."""
    columns = {
        str(name): [
            None if gone else v for v, gone in zip(features[name].tolist(), features[name].isna(), strict=True)
        ]
        for name in features
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
