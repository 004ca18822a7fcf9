"""What kind of question a model answers, from its MLmodel file alone: no model is loaded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from serving.model.model_dir import flavors, outputs

CLASSES = frozenset({"string", "boolean", "integer", "long"})
NUMBERS = frozenset({"double", "float"})


class Kind(StrEnum):
    """Which of the gate's checks suit a model."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ModelKind:
    """A kind, and why it was taken for that."""

    kind: Kind
    because: str


def kind_of(path: Path) -> ModelKind:
    """Classify the model in a directory. UnsupportedModelError: it is no model directory.

    A flavour that records the estimator's class is believed first. Else the signature's only output decides: texts,
    booleans and whole numbers are classes, other numbers are amounts.
    """
    for name in _estimators(flavors(path)):
        for suffix, kind in (("Classifier", Kind.CLASSIFICATION), ("Regressor", Kind.REGRESSION)):
            if name.endswith(suffix):
                return ModelKind(kind, f"it is a {name}")
    answers = outputs(path)
    if len(answers) != 1:
        return ModelKind(Kind.NONE, f"its signature has {len(answers) or 'no'} outputs")
    found = _type_of(answers[0])
    if found in CLASSES:
        return ModelKind(Kind.CLASSIFICATION, f"it answers with {found} values")
    if found in NUMBERS:
        return ModelKind(Kind.REGRESSION, f"it answers with {found} values")
    return ModelKind(Kind.NONE, f"it answers with {found}")


def _estimators(found: Mapping[str, Any]) -> Iterator[str]:
    """The names of estimator classes, as MLflow's flavours of XGBoost, LightGBM and CatBoost record them."""
    for flavor in found.values():
        if isinstance(flavor, Mapping):
            for field in ("model_class", "model_type"):
                yield str(flavor.get(field, "")).rpartition(".")[2]


def _type_of(output: Mapping[str, Any]) -> str:
    """A column's type; a tensor of one value per row counts as a column."""
    if output.get("type") != "tensor":
        return str(output.get("type"))
    spec = output["tensor-spec"]
    shape, dtype = list(spec["shape"]), str(spec["dtype"])
    if shape not in ([-1], [-1, 1]):
        return f"a tensor of shape {tuple(shape)}"
    kinds = {"i": "long", "u": "long", "f": "double", "b": "boolean"}
    return kinds.get(dtype[0], "string" if dtype in ("str", "object") else dtype)
