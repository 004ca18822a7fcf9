"""MLflow's scoring protocol: the same answers as MLflow's own server, asked side by side."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.app import ModelServer
from tests.serving.conftest import serve
from tests.support.asgi import ask
from tests.support.examples import examples
from tests.support.mlflow_scoring import running_scoring_server, score

JSON = "application/json"
NAMES = ["age", "income", "balance", "city", "plan"]
ROWS: list[list[Any]] = [[30, 2500.5, -1.5, "Köln", "plus"], [70, None, 80.0, "Nowhere", "basic"]]
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
COLUMNS = {name: [row[n] for row in ROWS] for n, name in enumerate(NAMES)}
CSV = "age,income,balance,city,plan\n30,2500.5,-1.5,Köln,plus\n70,,80,Nowhere,basic\n"

GOOD: list[tuple[str, Any]] = [
    (JSON, {"dataframe_split": {"columns": NAMES, "data": ROWS}}),
    (JSON, {"dataframe_split": {"columns": NAMES, "index": [7, 9], "data": ROWS}}),
    (JSON, {"dataframe_split": {"columns": NAMES[::-1], "data": [row[::-1] for row in ROWS]}}),
    (JSON, {"dataframe_records": RECORDS}),
    (JSON, {"dataframe_records": [{**RECORDS[0], "unknown": 1}]}),
    (JSON, {"dataframe_records": [{**RECORDS[0], "balance": 4, "age": 30.0}]}),
    (JSON, {"dataframe_records": [{**RECORDS[0], "balance": "4.5", "age": "30"}]}),
    (JSON, {"dataframe_records": [{**RECORDS[0], "income": float("nan")}]}),
    (JSON, {"instances": RECORDS}),
    (JSON, {"inputs": COLUMNS}),
    (JSON, {"inputs": RECORDS}),
    (JSON, {"dataframe_records": RECORDS, "params": {"unknown": 1}}),
    (JSON + "; charset=utf-8", {"dataframe_records": RECORDS}),
    ("text/csv", CSV.encode()),
    ("text/csv; charset=utf-8", CSV.replace("\n", "\r\n").encode()),
    ("text/csv", b'plan,city,unknown,age,income,balance\nplus,"Bonn, ""am"" Rhein",1,30,NA,1e2\n'),
]

BAD: list[tuple[str, Any]] = [
    (JSON, b""),
    (JSON, b"{"),
    (JSON, b"\xff"),
    (JSON, []),
    (JSON, 5),
    (JSON, {}),
    (JSON, {"dataframe_records": RECORDS, "inputs": COLUMNS}),
    (JSON, {"dataframe_records": RECORDS[0]}),
    (JSON, {"dataframe_records": [{n: v for n, v in RECORDS[0].items() if n != "age"}]}),
    (JSON, {"dataframe_records": [{**RECORDS[0], "age": "old"}]}),
    (JSON, {"dataframe_split": [1]}),
    (JSON, {"dataframe_split": {"columns": NAMES}}),
    (JSON, {"dataframe_split": {"columns": NAMES, "data": ROWS, "more": 1}}),
    (JSON, {"dataframe_split": {"columns": NAMES[:-1], "data": ROWS}}),
    (JSON, {"dataframe_split": {"data": ROWS}}),
    (JSON, {"inputs": {**COLUMNS, "age": [1]}}),
    ("text/csv", b"age\n1\n"),
    ("text/plain", b"{}"),
    (JSON + "; charset=latin-1", {"dataframe_records": RECORDS}),
]


class Originals(NamedTuple):
    """URLs of MLflow's servers."""

    classifier: str
    doubler: str
    tensor_regressor: str


@pytest.fixture(scope="module")
def originals(
    without_twin: Path, doubler: Path, tensor_regressor: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Originals]:
    """One process with MLflow's server for each model: its start takes seconds."""
    log = tmp_path_factory.mktemp("scoring") / "log"
    with running_scoring_server([without_twin, doubler, tensor_regressor], log) as urls:
        yield Originals(*urls)


@pytest.fixture(scope="module")
def original(originals: Originals) -> str:
    return originals.classifier


def encoded(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.mark.parametrize(("kind", "body"), GOOD)
def test_the_answer_is_mlflows(app: ModelServer, original: str, kind: str, body: Any) -> None:
    ours = ask(app, "POST", "/invocations", encoded(body), content_type=kind)
    status, theirs = score(original, encoded(body), kind)
    assert (ours.status, ours.json) == (status, json.loads(theirs))
    assert ours.status == 200
    assert ours.headers["content-type"] == JSON


@pytest.mark.parametrize(("kind", "body"), BAD)
def test_what_mlflow_refuses_is_refused_with_the_same_status_and_shape(
    app: ModelServer, original: str, kind: str, body: Any
) -> None:
    ours = ask(app, "POST", "/invocations", encoded(body), content_type=kind)
    status, theirs = score(original, encoded(body), kind)
    # MLflow has bugs there: it fails on some of these with a 500.
    assert ours.status == status or (ours.status, status) == (400, 500), theirs
    assert set(ours.json) == {"error_code", "message"}
    if ours.status == 400:
        assert ours.json["error_code"] == "BAD_REQUEST"


texts = st.sampled_from(["Bonn", "Köln", "東京", "basic", "plus", "else", "NaN?", ""])


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-(10**6), 10**6),
            st.none() | st.floats(-1e6, 1e6, width=32),
            st.floats(-1e6, 1e6, width=32),
            texts,
            texts,
        ),
        min_size=1,
        max_size=5,
    ),
    kind=st.sampled_from(["dataframe_split", "dataframe_records", "inputs", "instances"]),
)
def test_any_well_typed_rows_get_mlflows_labels(
    app: ModelServer, original: str, rows: list[tuple[Any, ...]], kind: str
) -> None:
    records = [dict(zip(NAMES, row, strict=True)) for row in rows]
    shapes: dict[str, Any] = {
        "dataframe_split": {"columns": NAMES, "data": rows},
        "dataframe_records": records,
        "instances": records,
        "inputs": {name: [record[name] for record in records] for name in NAMES},
    }
    body = encoded({kind: shapes[kind]})
    ours = ask(app, "POST", "/invocations", body, content_type=JSON)
    status, theirs = score(original, body, JSON)
    if status == 200:
        assert ours.json == json.loads(theirs)
    else:  # a column of nothing but null, which pandas takes for text
        assert kind in {"inputs", "instances"}
        assert ours.status == 200


def test_params_reach_a_model_that_takes_them(doubler: Path, originals: Originals) -> None:
    app = serve(doubler)
    bodies = [
        {"inputs": {"number": [4.0]}, "params": {"factor": 3.0}},
        {"dataframe_split": {"columns": ["number"], "data": [[4], [9]]}, "params": {"factor": 10}},
        {"dataframe_records": [{"number": 4}], "params": {"factor": 2.5, "unknown": "x"}},
        {"dataframe_records": [{"number": 4}]},
    ]
    for body in bodies:
        ours = ask(app, "POST", "/invocations", encoded(body), content_type=JSON)
        status, theirs = score(originals.doubler, encoded(body), JSON)
        assert (ours.status, ours.json) == (status, json.loads(theirs)), body
    wrong = encoded({"inputs": {"number": [4.0]}, "params": {"factor": "many"}})
    status, _ = score(originals.doubler, wrong, JSON)
    assert ask(app, "POST", "/invocations", wrong, content_type=JSON).status == status == 400


def test_a_tensor_comes_as_rows(tensor_regressor: Path, originals: Originals) -> None:
    app = serve(tensor_regressor)
    rows = [[0.0, 0.5, 1.0], [1.0, 2.0, 3.0]]
    bodies = [{"instances": rows}, {"inputs": rows}, {"dataframe_split": {"data": rows, "columns": ["a", "b", "c"]}}]
    for body in bodies:
        ours = ask(app, "POST", "/invocations", encoded(body), content_type=JSON)
        status, theirs = score(originals.tensor_regressor, encoded(body), JSON)
        assert (ours.status, status) == (200, 200)
        assert ours.json["predictions"] == pytest.approx(json.loads(theirs)["predictions"])


def test_an_optional_column_may_be_absent_where_mlflow_fails_over_it(app: ModelServer) -> None:
    absent = encoded({"dataframe_records": [{n: v for n, v in RECORDS[1].items() if n != "income"}]})
    null = encoded({"dataframe_records": RECORDS[1:]})
    answers = [ask(app, "POST", "/invocations", body, content_type=JSON) for body in (absent, null)]
    assert answers[0].status == 200
    assert answers[0].body == answers[1].body


def test_what_would_be_cut_or_guessed_is_refused_where_mlflow_takes_it(app: ModelServer) -> None:
    for wrong in ({"age": 30.5}, {"balance": None}, {"age": None}):
        body = encoded({"dataframe_records": [{**RECORDS[0], **wrong}]})
        answer = ask(app, "POST", "/invocations", body, content_type=JSON)
        assert answer.status == 400
        assert f"body.0.{next(iter(wrong))}" in answer.json["message"]


@settings(max_examples=examples(150), deadline=None)
@given(
    kind=st.sampled_from([JSON, "text/csv"]),
    body=st.binary(max_size=50)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["inputs", "instances", "dataframe_split", "data", "columns"]), inner)
        ),
    ).map(encoded),
)
def test_nonsense_is_a_400_and_never_a_500(app: ModelServer, kind: str, body: bytes) -> None:
    assert ask(app, "POST", "/invocations", body, content_type=kind).status == 400
