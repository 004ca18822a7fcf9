"""Generated models: every answer on every protocol is what MLflow's own server gives to that row alone.

``GENERATED_MODELS=3000`` tries as many; the default takes about a minute in CI.
"""

import asyncio
import csv
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from serving.app import ModelServer
from serving.protocols.invocations import MISSING
from tests.serving.conftest import serve
from tests.support.asgi import Answer, asking
from tests.support.examples import examples
from tests.support.generated_models import SHAPES, Spec, save, specs
from tests.support.mlflow_answers import MlflowAnswers

JSON = "application/json"
MODELS = int(os.environ.get("GENERATED_MODELS") or examples(100))
TOLERANCE = 1e-6  # what 32-bit arithmetic makes of other numbers of rows at once; most are equal bit by bit

Row = Mapping[str, Any]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A model that fails on a row is part of the game."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@settings(
    max_examples=MODELS,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # each model takes long: shrinking one would take minutes
    suppress_health_check=list(HealthCheck),
)
@given(spec=specs())
@pytest.mark.long
@pytest.mark.timeout(0)
def test_every_answer_is_mlflows_to_that_row_alone(spec: Spec) -> None:
    check(spec)


ROWS = [
    {"plan": 2, "when": "2024-01-31T09:30:00", "city": "Köln", "x": 0.5, "yes": True},
    {"plan": None, "when": None, "city": None, "x": 7.0, "yes": None},
    {"plan": 2, "when": "1999-12-31T23:59:59.000001", "city": "", "x": -1.0, "yes": False},
]
COLUMNS = (
    ("plan", "long", False),
    ("when", "datetime", False),
    ("city", "string", False),
    ("x", "double", True),
    ("yes", "boolean", False),
)


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES)
def test_every_form_of_answer_is_served_as_mlflow_writes_it(shape: str) -> None:
    check(Spec(COLUMNS, "pyfunc", shape, ROWS))


def test_mlflows_onnx_flavour_is_served() -> None:
    columns = [("0", "float", True), ("1", "float", True)]
    check(Spec(columns, "onnx flavour", "float32", [{"0": 0.5, "1": -1.0}, {"0": -3.0, "1": 2.0}]))


def check(spec: Spec) -> None:
    """Save, serve and compare one model."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "model"
        save(spec, directory)
        app, reference = serve(directory), MlflowAnswers(directory)
        asyncio.run(_compare(spec, app, reference))


async def _compare(spec: Spec, app: ModelServer, reference: MlflowAnswers) -> None:
    alone = [await _invocations(app, spec, "dataframe_records", [row]) for row in spec.rows]
    for row, said in zip(spec.rows, alone, strict=True):
        for kind in ("dataframe_records", "dataframe_split", "inputs", "instances", "csv"):
            await _as_mlflow(spec, app, reference, kind, row)
        await _on_other_protocols(spec, app, row, said)
    await _in_company(spec, app, alone)


async def _as_mlflow(spec: Spec, app: ModelServer, reference: MlflowAnswers, kind: str, row: Row) -> None:
    body, media = _body(spec, kind, [row])
    expected = reference.ask(body, media)
    if expected is None:
        return  # MLflow fails over some nulls that are answered here
    if kind == "csv" and any(
        row[name] in MISSING for name, text, required in spec.columns if required and text == "string"
    ):
        return  # what the signature requires and a file lacks is refused here
    said = await asking(app, "POST", "/invocations", body, content_type=media)
    assert said.status == 200, (kind, row, expected, said.body)
    _alike(said.json["predictions"], expected, (kind, row))


async def _on_other_protocols(spec: Spec, app: ModelServer, row: Row, alone: Answer) -> None:
    present = {name: value for name, value in row.items() if value is not None}
    values = [row[name] for name, _, _ in spec.columns]
    features = {"features": [values]}
    tensors = {
        "inputs": [
            {"name": name, "shape": [1], "datatype": _datatype(kind), "data": [row[name]]}
            for name, kind, _ in spec.columns
        ]
    }
    if spec.maker in {"onnx flavour", "tensor"}:
        tensors = {"inputs": [{"name": "input-0", "shape": [1, len(values)], "datatype": "FP64", "data": values}]}
    for path, body in (("/predict", present), ("/predict", features), ("/v2/models/small/infer", tensors)):
        said = await asking(app, "POST", path, json.dumps(body).encode(), content_type=JSON)
        refused = 422 if path == "/predict" else 400  # as each protocol says it
        assert said.status == (refused if alone.status == 400 else alone.status), (path, row, said.body, alone.body)
        if alone.status == 200:
            expected = _by_row(alone.json["predictions"])
            found = said.json["predictions"] if path == "/predict" else _from_outputs(said.json["outputs"])
            _alike(_flat(found), _flat(expected), (path, row))


async def _in_company(spec: Spec, app: ModelServer, alone: Sequence[Answer]) -> None:
    """The same rows at the same time, in one request, in another order, and cut in two: nothing changes."""
    at_once = await asyncio.gather(*(_invocations(app, spec, "dataframe_records", [row]) for row in spec.rows))
    for said, before in zip(at_once, alone, strict=True):
        assert (said.status, said.status == 200 and said.json) == (
            before.status,
            before.status == 200 and before.json,
        )
    good = [n for n, said in enumerate(alone) if said.status == 200]
    expected = {n: _flat(_by_row(alone[n].json["predictions"])) for n in good}
    for order in (good, good[::-1], good[: len(good) // 2], good[len(good) // 2 :], good * 3):
        if order:
            said = await _invocations(app, spec, "dataframe_records", [spec.rows[n] for n in order])
            assert said.status == 200, said.body
            for n, answer in zip(order, _by_row(said.json["predictions"]), strict=True):
                _alike(_flat([answer]), expected[n], (order, n))


async def _invocations(app: ModelServer, spec: Spec, kind: str, rows: Sequence[Row]) -> Answer:
    body, media = _body(spec, kind, rows)
    return await asking(app, "POST", "/invocations", body, content_type=media)


def _body(spec: Spec, kind: str, rows: Sequence[Row]) -> tuple[bytes, str]:
    names = [name for name, _, _ in spec.columns]
    values = [[row[name] for name in names] for row in rows]
    nameless = spec.maker in {"onnx flavour", "tensor"}
    if kind == "csv":
        text = io.StringIO()
        csv.writer(text).writerows([names, *([_in_csv(value) for value in row] for row in values)])
        return text.getvalue().encode(), "text/csv"
    shapes = {
        "dataframe_records": lambda: [dict(zip(names, row, strict=True)) for row in values],
        "dataframe_split": lambda: {"columns": names, "data": values},
        "inputs": lambda: values if nameless else dict(zip(names, zip(*values, strict=True), strict=True)),
        "instances": lambda: values if nameless else [dict(zip(names, row, strict=True)) for row in values],
    }
    return json.dumps({kind: shapes[kind]()}).encode(), JSON


def _in_csv(value: Any) -> Any:
    return "" if value is None else value


def _datatype(kind: str) -> str:
    return {"boolean": "BOOL", "integer": "INT32", "long": "INT64", "float": "FP32", "double": "FP64"}.get(
        kind, "BYTES"
    )


def _by_row(predictions: Any) -> list[Any]:
    """One answer per row, of a dict of columns too."""
    if isinstance(predictions, dict):
        names = list(predictions)
        return [dict(zip(names, row, strict=True)) for row in zip(*predictions.values(), strict=True)]
    return list(predictions)


def _from_outputs(outputs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Without probabilities, which MLflow does not give."""
    return [element for output in outputs if output["name"] != "probabilities" for element in output["data"]]


def _flat(answer: Any) -> list[Any]:
    """The values of an answer, without the protocol's form around them: JSON in a text is read."""
    if isinstance(answer, str) and answer[:1] in {"{", "["}:
        return _flat(json.loads(answer))
    if isinstance(answer, dict):
        return [part for inner in answer.values() for part in _flat(inner)]
    if isinstance(answer, list):
        return [part for inner in answer for part in _flat(inner)]
    return [answer]


def _alike(found: Any, expected: Any, what: object) -> None:
    """Equal, type by type; floats but for the last bits, which depend on how many rows are multiplied at once."""
    if isinstance(expected, float) and isinstance(found, float):
        assert found == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE), what
        return
    assert type(found) is type(expected), (what, found, expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected), (what, found, expected)
        for name in expected:
            _alike(found[name], expected[name], what)
    elif isinstance(expected, list):
        assert len(found) == len(expected), (what, found, expected)
        for one, other in zip(found, expected, strict=True):
            _alike(one, other, what)
    else:
        assert found == expected, (what, found, expected)
