"""What a request may say about its body, what any web page may not make a browser send, and HEAD."""

import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from serving.app import ModelServer
from serving.http.onewrite import OneWriteProtocol
from tests.support.asgi import ask, post
from tests.support.ports import free_port
from tests.support.waiting import eventually

INFER = "/v2/models/small/infer"
RECORD: dict[str, Any] = {"age": 30, "income": 2500.5, "balance": -1, "city": "Bonn", "plan": "plus"}
TYPES = {"age": "INT64", "income": "FP64", "balance": "FP64", "city": "BYTES", "plan": "BYTES"}
TENSORS = [{"name": name, "shape": [1], "datatype": TYPES[name], "data": [RECORD[name]]} for name in TYPES]
BODIES: dict[str, Any] = {
    "/predict": RECORD,
    "/invocations": {"dataframe_records": [RECORD]},
    INFER: {"inputs": TENSORS},
}
GETS = ["/", "/health", "/openapi.json", "/v2", "/v2/health/ready", "/v2/models/small"]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "kind",
    [
        *("text/plain", "text/plain; application/json", "application/x-www-form-urlencoded", "multipart/form-data"),
        *("", "application/json; charset=latin-1", "application/jsonx", "é"),
    ],
)
def test_another_content_type_is_a_415_that_names_the_right_one(app: ModelServer, path: str, kind: str) -> None:
    answer = post(app, path, BODIES[path], content_type=kind)
    assert answer.status == 415
    assert "Content-Type: application/json" in answer.body.decode()


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
def test_no_content_type_is_a_415(app: ModelServer, path: str) -> None:
    assert ask(app, "POST", path, json.dumps(BODIES[path]).encode()).status == 415


def test_clients_of_the_open_inference_protocol_may_send_none_and_pages_of_others_may_not(app: ModelServer) -> None:
    body = json.dumps(BODIES[INFER]).encode()
    assert ask(app, "POST", INFER, body).status == 200
    assert ask(app, "POST", INFER, body, content_type="application/octet-stream").status == 200
    assert ask(app, "POST", INFER, body, origin="https://example.invalid").status == 415


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "kind", ["Application/JSON", 'application/json; charset="UTF-8"', "application/vnd.rows+json"]
)
def test_json_may_be_written_in_other_ways(app: ModelServer, path: str, kind: str) -> None:
    assert post(app, path, BODIES[path], content_type=kind).status == 200


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity"])
def test_a_compressed_body_is_a_415_that_says_so(app: ModelServer, path: str, encoding: str) -> None:
    answer = post(app, path, gzip.compress(json.dumps(BODIES[path]).encode()), content_encoding=encoding)
    assert answer.status == 415
    assert "send the body uncompressed" in answer.body.decode()
    assert post(app, path, BODIES[path], content_encoding="identity").status == 200


@pytest.mark.parametrize("path", ["/invocations", INFER])
def test_a_key_that_appears_twice_is_refused_by_the_other_protocols_too(app: ModelServer, path: str) -> None:
    body = json.dumps(BODIES[path]).encode()
    answer = post(app, path, body[:-1] + b", " + body[1:])
    assert answer.status == 400
    assert "appears twice" in answer.body.decode()


@pytest.mark.parametrize("path", [*BODIES, *GETS])
def test_a_browser_that_asks_for_another_sites_page_gets_no_permission(app: ModelServer, path: str) -> None:
    asked = {"origin": "https://example.invalid", "access_control_request_method": "POST"}
    for method in ("OPTIONS", "GET"):
        answer = ask(app, method, path, **asked)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert method == "GET" or answer.status == 405


@pytest.fixture(scope="module")
def port(app: ModelServer) -> Iterator[int]:
    port = free_port()
    config = uvicorn.Config(app, "127.0.0.1", port, http=OneWriteProtocol, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started)
    yield port
    server.should_exit = True
    thread.join(10)


@pytest.mark.parametrize("path", [*GETS, "/predict", "/nothing"])
def test_head_is_answered_as_get_without_the_body(port: int, path: str) -> None:
    answers = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for method in ("GET", "HEAD", "GET"):
        connection.request(method, path)
        said = connection.getresponse()
        headers = {name: value for name, value in said.getheaders() if name.lower() != "date"}
        answers.append((said.status, headers, said.read()))
    connection.close()
    assert answers[1] == (*answers[0][:2], b"")
    assert answers[2] == answers[0]
    assert answers[0][2]
