"""The Open Inference Protocol: asked by a client that others wrote, and with nonsense."""

import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.app import ModelServer
from tests.serving.conftest import serve
from tests.support.asgi import Answer, ask, post
from tests.support.examples import examples
from tests.support.ports import free_port
from tests.support.waiting import eventually

INFER = "/v2/models/small/infer"
ROWS: list[dict[str, Any]] = [
    {"age": 30, "income": 2500.5, "balance": -1.5, "city": "Köln", "plan": "plus"},
    {"age": 70, "income": None, "balance": 80.0, "city": "Nowhere", "plan": "basic"},
]
TYPES = {"age": "INT64", "income": "FP64", "balance": "FP64", "city": "BYTES", "plan": "BYTES"}


def tensor(name: str, **changed: Any) -> dict[str, Any]:
    data = [row[name] for row in ROWS]
    return {"name": name, "shape": [2], "datatype": TYPES[name], "data": data, **changed}


def infer(app: ModelServer, *, path: str = INFER, **body: Any) -> Answer:
    return post(app, path, {"inputs": [tensor(name) for name in TYPES], **body})


def test_the_answer_is_that_of_predict(app: ModelServer) -> None:
    expected = post(app, "/predict", ROWS).json
    answer = infer(app, id="a-1")
    assert answer.status == 200
    assert (answer.json["model_name"], answer.json["model_version"], answer.json["id"]) == ("small", "3", "a-1")
    labels, probabilities = answer.json["outputs"]
    assert labels == {"name": "predictions", "shape": [2], "datatype": "BYTES", "data": expected["predictions"]}
    assert probabilities["shape"] == [2, 3]
    assert probabilities["data"] == pytest.approx([p for row in expected["probabilities"] for p in row])
    assert infer(app, path="/v2/models/small/versions/3/infer").json["outputs"] == answer.json["outputs"]


def test_columns_may_be_rows_of_one_and_nested_and_in_any_order(app: ModelServer) -> None:
    nested = [tensor(n, shape=[2, 1], data=[[row[n]] for row in ROWS]) for n in reversed(TYPES)]
    assert infer(app, inputs=nested).json["outputs"] == infer(app).json["outputs"]


def test_only_the_outputs_that_were_asked_for_come_back(app: ModelServer) -> None:
    outputs = infer(app, outputs=[{"name": "probabilities"}]).json["outputs"]
    assert [output["name"] for output in outputs] == ["probabilities"]
    answer = infer(app, outputs=[{"name": "secrets"}])
    assert (answer.status, answer.json) == (
        400,
        {"error": "body: the model's outputs are predictions, probabilities"},
    )


def test_the_model_describes_itself(app: ModelServer) -> None:
    for path in ("/v2/models/small", "/v2/models/small/versions/3"):
        described = ask(app, "GET", path).json
        assert {i["name"]: i["datatype"] for i in described["inputs"]} == TYPES
        assert described["outputs"] == [
            {"name": "predictions", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
        ]
        assert ask(app, "GET", f"{path}/ready").json == {"ready": True}
        assert described["parameters"]["classes"] == ["leave", "maybe", "stay"]
    for path, key in (("/v2", "name"), ("/v2/health/live", "live"), ("/v2/health/ready", "ready")):
        assert key in ask(app, "GET", path).json


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/small/versions/4", "/v2/models/other/ready"])
def test_another_model_or_version_is_unknown(app: ModelServer, path: str) -> None:
    assert ask(app, "GET", path).status == 404
    if not path.endswith("ready"):
        assert infer(app, path=f"{path}/infer").json == {"error": "this server has no such model or version"}


def test_a_tensor_model_takes_one_matrix(tensor_regressor: Path) -> None:
    app = serve(tensor_regressor)
    matrix = {"name": "anything", "shape": [2, 3], "datatype": "FP64", "data": [[0, 0, 0], [1, 1, 1]]}
    answer = post(app, INFER, {"inputs": [matrix]})
    assert answer.json["outputs"][0]["data"] == pytest.approx([3.0, 2.5])
    assert answer.json["outputs"][0]["datatype"] == "FP64"
    assert ask(app, "GET", "/v2/models/small").json["inputs"][0]["shape"] == [-1, 3]
    assert post(app, INFER, {"inputs": [{**matrix, "shape": [3, 2]}]}).status == 400


def test_a_model_with_named_outputs_and_params_gives_and_takes_them(doubler: Path) -> None:
    app = serve(doubler)
    number = {"name": "number", "shape": [2], "datatype": "FP32", "data": [4.0, 9.0]}
    outputs = post(app, INFER, {"inputs": [number], "parameters": {"factor": 10.0}}).json["outputs"]
    assert {output["name"]: output["data"] for output in outputs} == {"double": [40.0, 90.0], "root": [2.0, 3.0]}


WRONG: list[tuple[Any, str]] = [
    ([], "array of inputs"),
    ([5], "array of inputs"),
    ([tensor("age")], "balance: a value is required"),
    ([tensor(n) for n in TYPES] + [{**tensor("age"), "name": "unknown"}], "unknown field"),
    ([tensor(n) for n in TYPES] + [tensor("age")], "a unique name"),
    ([tensor(n, shape=[3] if n == "age" else [2]) for n in TYPES], "3 elements, the data 2"),
    ([tensor(n, shape=[1], data=[1]) if n == "plan" else tensor(n) for n in TYPES], "must have the shape"),
    ([tensor(n, shape=[0], data=[]) for n in TYPES], "between 1 and"),
    ([tensor(n, shape=[2, 1, 1]) for n in TYPES], "must have the shape"),
    ([tensor(n, shape="2") for n in TYPES], "shape must be"),
    ([tensor(n, shape=[True, 2]) for n in TYPES], "shape must be"),
    ([tensor(n, datatype="INT128") for n in TYPES], "datatype must be one of"),
    (
        [tensor(n, data=[1.5, 2.5]) if n == "age" else tensor(n) for n in TYPES],
        "age: Input should be a valid integer",
    ),
    ([tensor(n, data=None) for n in TYPES], "the data 1"),
    ([tensor(n, parameters={"binary_data_size": 9}) for n in TYPES], "exceeds the binary data"),
]


@pytest.mark.parametrize(("inputs", "reason"), WRONG)
def test_what_does_not_fit_is_a_400_with_the_reason(app: ModelServer, inputs: Any, reason: str) -> None:
    answer = infer(app, inputs=inputs)
    assert answer.status == 400
    assert reason in answer.json["error"]


@settings(max_examples=examples(150), deadline=None)
@given(
    header=st.binary(max_size=30) | st.just(json.dumps({"inputs": [tensor("city", data=None)]}).encode()),
    tail=st.binary(max_size=30),
    length=st.none() | st.integers(-5, 300) | st.text(max_size=5),
)
def test_nonsense_is_a_400_and_never_a_500(app: ModelServer, header: bytes, tail: bytes, length: Any) -> None:
    said = {} if length is None else {"inference_header_content_length": str(length).encode().decode("latin-1")}
    assert ask(app, "POST", INFER, header + tail, **said).status == 400


@given(blob=st.binary(max_size=30))
@settings(max_examples=examples(100), deadline=None)
def test_texts_that_are_cut_short_are_refused(app: ModelServer, blob: bytes) -> None:
    cut = {**tensor("city"), "parameters": {"binary_data_size": len(blob)}}
    header = json.dumps({"inputs": [cut if n == "city" else tensor(n) for n in TYPES]}).encode()
    answer = ask(app, "POST", INFER, header + blob, inference_header_content_length=str(len(header)))
    assert answer.status in {200, 400}


def test_binary_inputs_get_the_same_answer(app: ModelServer) -> None:
    blobs = {
        "age": struct.pack("<2q", 30, 70),
        "income": struct.pack("<2d", 2500.5, float("nan")),
        "city": b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in ("Köln", "Nowhere")),
    }
    inputs = [tensor(n, parameters={"binary_data_size": len(blobs[n])}) if n in blobs else tensor(n) for n in TYPES]
    header = json.dumps({"inputs": inputs}).encode()
    body = header + b"".join(blobs[n] for n in TYPES if n in blobs)
    answer = ask(app, "POST", INFER, body, inference_header_content_length=str(len(header)))
    assert answer.json["outputs"] == infer(app).json["outputs"]


@pytest.fixture
def listening(app: ModelServer) -> Iterator[str]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started)
    yield f"127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.mark.parametrize("binary", [False, True])
def test_tritons_own_client_is_answered(app: ModelServer, listening: str, *, binary: bool) -> None:
    client_of = pytest.importorskip("tritonclient.http")
    import numpy as np

    numpy_types = {"INT64": np.int64, "FP64": np.float64, "BYTES": object}
    client = client_of.InferenceServerClient(listening)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("small", "3")
    assert client.get_model_metadata("small")["platform"] == "mlflow_onnx"
    inputs = []
    for name, kind in TYPES.items():
        values = [np.nan if row[name] is None else row[name] for row in ROWS]
        if kind == "FP64" and not binary:
            values = [0.5 if value != value else value for value in values]  # noqa: PLR0124 - NaN; no JSON has it
        wanted = client_of.InferInput(name, [2, 1], kind)
        wanted.set_data_from_numpy(np.array(values, dtype=numpy_types[kind]).reshape(2, 1), binary_data=binary)
        inputs.append(wanted)
    result = client.infer(
        "small", inputs, outputs=[client_of.InferRequestedOutput("probabilities", binary_data=binary)]
    )
    asked = ROWS if binary else [{**row, "income": 0.5 if row["income"] is None else row["income"]} for row in ROWS]
    np.testing.assert_allclose(result.as_numpy("probabilities"), post(app, "/predict", asked).json["probabilities"])
    client.close()
