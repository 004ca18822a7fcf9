"""A registry that answers with a redirect to another host does not get our credentials carried there."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from receiver.adapters.mlflow.registry import MlflowRegistry
from receiver.core.errors import PinrailError
from serving.model.loader import Cache


class Redirecting(ThreadingHTTPServer):
    """Notes the credentials that it is given, and sends everybody to ``location``, or answers 404."""

    location = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.given: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Redirecting

    def do_GET(self) -> None:
        self.server.given.append(self.headers["Authorization"])
        self.send_response(302 if self.server.location else 404)
        if self.server.location:
            self.send_header("Location", self.server.location + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815 - the base class's names

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running() -> Iterator[Redirecting]:
    with Redirecting() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "credentials",
    [
        {"MLFLOW_TRACKING_TOKEN": "hunter2hunter2"},
        {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "hunter2hunter2"},
    ],
)
def test_credentials_do_not_follow_a_redirect(
    credentials: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        registry, elsewhere = stack.enter_context(running()), stack.enter_context(running())
        registry.location = f"http://127.0.0.1:{elsewhere.server_port}"
        uri = f"http://127.0.0.1:{registry.server_port}"
        with pytest.raises(PinrailError):
            MlflowRegistry(uri, Cache(tmp_path, uri)).versions("churn-model")
    assert all(registry.given)
    assert elsewhere.given
    assert not any(elsewhere.given)
