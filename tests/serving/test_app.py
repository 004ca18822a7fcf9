"""What the model server answers: to good requests, to bad ones and to nonsense. Never a 500, never its input."""

import asyncio
import functools
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.app import ModelServer
from serving.http.asgi import MAX_BODY_BYTES
from serving.http.body import BodyLimits
from serving.model import schema
from serving.model.digest import digest_tree
from serving.model.model_dir import input_example
from tests.serving.conftest import serve
from tests.support import small_models
from tests.support.asgi import ask, post
from tests.support.examples import examples

GOOD: dict[str, Any] = {"age": 30, "income": 2500.5, "balance": -1, "city": "Köln", "plan": "plus"}


def test_health_says_exactly_what_is_served(app: ModelServer, classifier: Path) -> None:
    answer = ask(app, "GET", "/health")
    assert answer.status == 200
    assert answer.json == {
        "status": "ok",
        "stage": "Staging",
        "environment": "staging",
        "model": "small",
        "version": 3,
        "run_id": None,
        "digest": digest_tree(classifier),
        "revision": "0123abc",
        "replica": 1,
        "runtime": "onnx",
    }


def test_a_record_a_list_of_them_and_rows_in_order_get_the_same_answer(app: ModelServer) -> None:
    one = post(app, "/predict", GOOD)
    assert one.status == 200
    assert one.headers["content-type"] == "application/json"
    assert list(one.json) == ["model", "version", "predictions", "probabilities"]
    assert (one.json["model"], one.json["version"]) == ("small", 3)
    assert sum(one.json["probabilities"][0]) == pytest.approx(1)
    several = post(app, "/predict", [GOOD, GOOD]).json
    in_order = post(app, "/predict", {"features": [list(GOOD.values())] * 2}).json
    assert several == in_order
    assert several["predictions"] == one.json["predictions"] * 2


def test_keys_may_come_in_any_order(app: ModelServer) -> None:
    backwards = dict(reversed(GOOD.items()))
    assert post(app, "/predict", backwards).body == post(app, "/predict", GOOD).body


def test_an_optional_column_may_be_null_or_absent(app: ModelServer) -> None:
    null = post(app, "/predict", {**GOOD, "income": None})
    absent = post(app, "/predict", {name: value for name, value in GOOD.items() if name != "income"})
    in_order = post(app, "/predict", {"features": [[30, None, -1, "Köln", "plus"]]})
    assert null.status == 200
    assert null.body == absent.body == in_order.body
    assert null.body != post(app, "/predict", GOOD).body


@pytest.mark.parametrize("whitespace", [b" ", b"\n\t\r "])
def test_space_before_the_body_does_not_matter(app: ModelServer, whitespace: bytes) -> None:
    for body in (GOOD, [GOOD], {"features": [list(GOOD.values())]}):
        assert post(app, "/predict", whitespace + json.dumps(body).encode()).status == 200


def test_an_unseen_category_is_answered(app: ModelServer) -> None:
    assert post(app, "/predict", {**GOOD, "city": "Nowhere"}).status == 200


HUGE = "x" * 200_000
WRONG: list[tuple[str, Any, list[Any], str]] = [
    ("a true for a number", {**GOOD, "balance": True}, ["body", "balance"], "valid number"),
    ("a true for an integer", {**GOOD, "age": True}, ["body", "age"], "valid integer"),
    ("a text for a number", {**GOOD, "balance": "1.5"}, ["body", "balance"], "valid number"),
    ("a huge text for a number", {**GOOD, "age": HUGE}, ["body", "age"], "valid integer"),
    ("a fraction for an integer", {**GOOD, "age": 1.5}, ["body", "age"], "valid integer"),
    ("an integer over 64 bits", {**GOOD, "age": 2**63}, ["body", "age"], "less than or equal"),
    ("a number for a text", {**GOOD, "city": 5}, ["body", "city"], "valid string"),
    ("null for what is required", {**GOOD, "age": None}, ["body", "age"], "valid integer"),
    ("a missing key", {k: v for k, v in GOOD.items() if k != "plan"}, ["body", "plan"], "required"),
    ("an extra key", {**GOOD, HUGE: 1}, ["body"], "unknown field; expected: age, income, balance"),
    ("no records", [], ["body"], "at least 1"),
    ("no rows", {"features": []}, ["body", "features"], "at least 1"),
    ("features that are no list", {"features": 5}, ["body", "features"], "must be an array"),
    ("a row that is no list", {"features": [5]}, ["body", "features", 0], "must be an array"),
    ("a key beside the rows", {"features": [list(GOOD.values())], "x": 1}, ["body"], "unknown field"),
    ("a short row", {"features": [[30, 1.0, 1.0, "Bonn"]]}, ["body", "features", 0, "plan"], "required"),
    ("a long row", {"features": [[*GOOD.values(), 1]]}, ["body", "features", 0], "at most 5"),
    ("an empty row", {"features": [[]]}, ["body", "features", 0, "age"], "required"),
    ("a bad second row", [GOOD, {**GOOD, "age": HUGE}], ["body", 1, "age"], "valid integer"),
    ("a list in a list", [[GOOD]], ["body", 0], "must be an object"),
    ("a list for a value", {**GOOD, "age": [30]}, ["body", "age"], "valid integer"),
    ("no object", 5, ["body"], "must be an array"),
    ("null", None, ["body"], "must be an array"),
    ("NaN", json.dumps({**GOOD, "balance": math.nan}).encode(), ["body", "balance"], "finite"),
    ("Infinity", json.dumps({**GOOD, "balance": -math.inf}).encode(), ["body", "balance"], "finite"),
    ("1e999", b'{"age":1,"balance":1e999,"city":"","plan":""}', ["body", "balance"], "finite"),
    ("half a surrogate pair", b'{"age":1,"balance":1,"city":"\\ud800","plan":""}', ["body"], "Invalid JSON"),
    ("bytes that are no UTF-8", b'{"age":1,"balance":1,"city":"\xff","plan":""}', ["body"], "Invalid JSON"),
    ("nothing", b"", ["body"], "Invalid JSON"),
    ("half a record", b'{"age":1,', ["body"], "Invalid JSON"),
    ("brackets without end", b"[" * 100_000, ["body"], "Invalid JSON"),
    ("5,000 digits", b'{"age":%b}' % (b"9" * 5000), ["body"], "Invalid JSON"),
]


@pytest.mark.parametrize(("body", "loc", "reason"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_what_the_signature_does_not_allow_is_a_422_that_names_field_and_reason_without_the_input(
    app: ModelServer, body: Any, loc: list[Any], reason: str
) -> None:
    answer = post(app, "/predict", body)
    assert answer.status == 422
    details = answer.json["detail"]
    assert any(detail["loc"] == loc and reason in detail["msg"] for detail in details), details
    assert len(answer.body) < 2000
    assert b"xxxx" not in answer.body


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"age":1,"balance":1,"city":"","plan":"","age":2}', "'age'"),
        (b'{"age":1,"balance":1,"city":"","plan":"","income":1,"income":2}', "'income'"),
        (b'[{"age" : 1,"balance":1,"city":"a:b","plan":"","age"\n:2}]', "'age'"),
        (b'{"features":[[30,1,1,"",""]],"features":[[31,1,1,"",""]]}', "a key"),
        (b'{"age":{"x":1,"x":1},"balance":1,"city":"","plan":""}', "a key"),
    ],
)
def test_a_key_that_appears_twice_is_a_422_and_not_a_guess(app: ModelServer, body: bytes, key: str) -> None:
    answer = post(app, "/predict", body)
    assert answer.status == 422
    assert answer.json["detail"] == [
        {"loc": ["body"], "msg": f"{key} appears twice in an object", "type": "repeated_key"}
    ]


def test_more_rows_than_the_cap_are_refused(app: ModelServer) -> None:
    rows = [list(GOOD.values())] * (schema.MAX_ROWS + 1)
    for body in ({"features": rows}, [GOOD] * (schema.MAX_ROWS + 1)):
        answer = post(app, "/predict", body)
        assert answer.status == 422
        assert f"at most {schema.MAX_ROWS} items" in answer.json["detail"][0]["msg"]


def test_a_body_over_the_limit_is_refused_before_it_is_read_to_its_end(app: ModelServer) -> None:
    read = 0

    def parts() -> Any:
        nonlocal read
        for _ in range(20):
            read += 1
            yield b" " * (MAX_BODY_BYTES // 10)

    assert ask(app, "POST", "/predict", b" " * (MAX_BODY_BYTES + 1)).status == 413
    answer = ask(app, "POST", "/predict", parts())
    assert answer.status == 413
    assert "send fewer rows" in answer.json["detail"]


def test_a_client_that_leaves_half_way_is_no_error(app: ModelServer) -> None:
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send))
    assert sent == []


def test_a_flood_of_mistakes_is_not_described_one_by_one(app: ModelServer) -> None:
    answer = post(app, "/predict", {f"k{n}": n for n in range(50_000)})
    assert answer.status == 422
    assert len(answer.json["detail"]) == 1
    assert len(post(app, "/predict", {f"k{n}": n for n in range(100)}).json["detail"]) == schema.MAX_DETAILS


def test_an_answer_that_is_not_finite_is_a_500_in_json_and_its_neighbours_are_answered(doubler: Path) -> None:
    app = serve(doubler)
    answer = post(app, "/predict", {"number": -1.0})
    assert answer.status == 500
    assert answer.json == {"detail": "the model's answer to row 0 is not a finite number"}
    assert post(app, "/predict", {"number": 4.0}).json["predictions"] == [{"double": 8.0, "root": 2.0}]


def test_what_a_model_fails_on_is_logged_with_version_and_request_id(
    doubler: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = serve(doubler)
    answer = post(app, "/predict", {"number": -1.0}, x_request_id="a-7")
    assert (answer.status, answer.headers["x-request-id"]) == (500, "a-7")
    (message,) = caplog.messages
    assert message.startswith("version 3, request a-7: failed: the model's answer to row 0 is not a finite number")
    post(app, "/predict", {"number": "x"})
    assert len(caplog.messages) == 1, "a bad request is the client's"


def test_a_model_without_probabilities_answers_without_them(tensor_regressor: Path) -> None:
    app = serve(tensor_regressor)
    answer = post(app, "/predict", {"features": [[1, 1, 1.0]]}).json
    assert answer == {"model": "small", "version": 3, "predictions": [pytest.approx(2.5)]}
    assert post(app, "/predict", {"0": 1, "1": 1, "2": 1}).json == answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/predict", 405), ("DELETE", "/health", 405), ("GET", "/nothing", 404), ("POST", "/predict/", 404)],
)
def test_other_methods_and_paths_are_refused_in_json(app: ModelServer, method: str, path: str, status: int) -> None:
    answer = ask(app, method, path)
    assert answer.status == status
    assert set(answer.json) == {"detail"}


def test_the_openapi_description_agrees_with_what_is_accepted(app: ModelServer, classifier: Path) -> None:
    described = ask(app, "GET", "/openapi.json").json
    assert described["paths"]["/predict"]["post"]["operationId"] == "predict"
    for row in input_example(classifier):
        jsonschema.validate([row], _request_schema(described))
    assert {"/health", "/predict", "/invocations", "/v2/models/small/infer"} <= set(described["paths"])
    assert described["components"]["schemas"]["Record"]["required"] == ["age", "balance", "city", "plan"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
nearly = st.fixed_dictionaries(
    {
        "age": st.integers() | json_values,
        "balance": st.floats() | json_values,
        "city": st.text() | json_values,
        "plan": st.text(),
    },
    optional={"income": st.none() | st.floats(), "other": json_values},
)


@settings(max_examples=examples(300), deadline=None)
@given(body=nearly | st.lists(nearly, max_size=3) | st.fixed_dictionaries({"features": json_values}) | json_values)
def test_the_server_accepts_exactly_what_it_says_it_does_and_never_fails(app: ModelServer, body: Any) -> None:
    answer = post(app, "/predict", body)
    # Python's json writes NaN and infinities, which are no JSON.
    if _is_finite(body):
        conforms = _validator(app).is_valid(body)
        assert (answer.status == 200) == conforms or (conforms and _is_borderline(answer.body))
    else:
        assert answer.status == 422
    assert answer.status in {200, 422}
    if answer.status == 200:
        assert np.isfinite(answer.json["probabilities"]).all()


@settings(max_examples=examples(100), deadline=None)
@given(body=st.binary(max_size=60))
def test_bytes_that_mean_nothing_are_refused(app: ModelServer, body: bytes) -> None:
    assert post(app, "/predict", body).status == 422


@functools.cache
def _validator(app: ModelServer) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(_request_schema(ask(app, "GET", "/openapi.json").json))


def _request_schema(described: dict[str, Any]) -> dict[str, Any]:
    return {"$ref": "#/components/schemas/PredictRequest", "components": described["components"]}


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_finite(part) for part in value.values())
    if isinstance(value, list):
        return all(_is_finite(part) for part in value)
    return not isinstance(value, float) or math.isfinite(value)


def _is_borderline(said: bytes) -> bool:
    """JSON Schema takes 1.0 for an integer, and knows nothing of the model's arithmetic."""
    return b"valid integer" in said or b"out of range" in said


def test_a_classifier_that_answers_two_questions_gives_both_labels_and_no_probabilities(tmp_path: Path) -> None:
    model = small_models.save_two_questions(tmp_path / "m")
    asked = [{"balance": -50.0}, {"balance": 5.0}, {"balance": 50.0}]
    said = post(serve(tmp_path / "m"), "/predict", asked)
    assert (said.status, said.json) == (
        200,
        {"model": "small", "version": 3, "predictions": model.predict(pd.DataFrame(asked)).tolist()},
    )


def test_a_model_that_calls_exit_has_failed_and_the_server_has_not(tmp_path: Path) -> None:
    small_models.save_quitter(tmp_path / "m")
    app = serve(tmp_path / "m")
    assert post(app, "/predict", {"number": -1.0}).status == 500
    assert post(app, "/predict", {"number": 4.0}).json["predictions"] == [4.0]


def test_bodies_that_together_take_too_much_memory_are_deferred(
    classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.app.LIMITS", BodyLimits(1000, 10.0, budget_bytes=50, linger_bytes=0))
    app = serve(classifier)
    refused = ask(app, "POST", "/predict", [b" " * 40, b" " * 40])
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert post(app, "/predict", GOOD).status == 200
    again = ask(app, "POST", "/predict", [b" " * 20, json.dumps(GOOD)[:1].encode()], content_type="application/json")
    assert again.status == 422, "it was given back"


def test_a_body_that_does_not_come_is_408(classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.app.LIMITS", BodyLimits(1000, 0.05, budget_bytes=1000, linger_bytes=0))
    app, sent = serve(classifier), []

    async def run() -> None:
        messages = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive() -> Any:
            return messages.pop() if messages else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        await app({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send)

    asyncio.run(run())
    assert sent[0]["status"] == 408
