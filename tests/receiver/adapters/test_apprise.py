"""Notifications through apprise, to a real HTTP server on loopback."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from receiver.adapters.apprise import UNENDED, notifiers
from receiver.core.errors import Rejected, Retryable
from receiver.core.redact import Redactor

# apprise looks for a module that Python 3.13 no longer has.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

REDACT = Redactor(["a-secret-of-ours"])


class Chat(ThreadingHTTPServer):
    """Notes what it is told and answers ``status``."""

    status = 200
    location = ""
    drips = False  # a byte of an answer now and then, until it is shut down

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[dict[str, str]] = []
        self.tokens: list[str | None] = []
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"json://bot:hunter2hunter2@127.0.0.1:{self.server_port}/room"


class Handler(BaseHTTPRequestHandler):
    server: Chat

    def do_POST(self) -> None:
        self.server.tokens.append(self.headers["X-Token"])
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()
        while self.server.drips:
            self.wfile.write(b" ")
            self.server.ended.wait(0.1)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(name="chat")
def running_chat() -> Iterator[Chat]:
    with running() as server:
        yield server


@contextmanager
def running() -> Iterator[Chat]:
    with Chat() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.drips = False
        server.ended.set()
        server.shutdown()
        thread.join()


def test_a_message_arrives_with_its_lines_and_without_control_characters(chat: Chat) -> None:
    [(name, send)] = notifiers([chat.url], REDACT).items()
    assert name.startswith("notify/")
    send({"title": "v6 is \x1b[31mlive\nin staging", "text": "because\x00 of\n::set-output name=a::b"})
    [message] = chat.got
    assert message["title"] == "v6 is live in staging"
    assert message["message"] == "because of\n: :set-output name=a::b"


def test_a_message_without_text_says_its_title(chat: Chat) -> None:
    [send] = notifiers([chat.url], REDACT).values()
    send({"title": "v6 is live", "text": ""})
    assert chat.got[0]["message"] == "v6 is live"


def test_a_failure_names_the_entry_and_nowhere_the_url(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    chat.status = 500
    senders = notifiers(["json://127.0.0.1:1/", chat.url], REDACT)
    assert "hunter2" not in "".join(senders)
    with pytest.raises(Retryable, match=r"entry 2 of PINRAIL_NOTIFY_URLS"):
        list(senders.values())[1]({"title": "a", "text": "b"})
    assert "hunter2" not in caplog.text


def test_a_token_in_a_url_does_not_follow_a_redirect_to_another_host(chat: Chat) -> None:
    with running() as elsewhere:
        chat.status, chat.location = 307, f"http://127.0.0.1:{elsewhere.server_port}/"
        [send] = notifiers([f"{chat.url}?+X-Token=hunter2hunter2"], REDACT).values()
        with pytest.raises(Retryable, match="entry 1"):
            send({"title": "a", "text": "b"})
    assert (chat.tokens, elsewhere.tokens) == (["hunter2hunter2"], [])


def test_an_entry_that_is_no_url_is_refused_by_its_place_and_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Rejected, match="entry 2 of 2") as refused:
        notifiers(["json://127.0.0.1:1/", "nonsense://hunter2hunter2"], REDACT)
    assert "hunter2" not in str(refused.value) + caplog.text


def test_without_addresses_every_message_counts_as_delivered() -> None:
    [(name, send)] = notifiers([], REDACT).items()
    assert name == "notify"
    send({"title": "a", "text": "b"})


def test_no_secret_is_sent_to_a_chat(chat: Chat) -> None:
    [send] = notifiers([chat.url], REDACT).values()
    send({"title": "a-secret-of-ours", "text": "last words:\nlogin with a-secret-of\x00-ours at https://me:pw@host"})
    [message] = chat.got
    assert (message["title"], message["message"]) == ("***", "last words:\nlogin with *** at https://***@host")


def test_a_server_that_answers_a_byte_now_and_then_is_given_up_in_time(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.adapters.apprise.NOTIFY_SECONDS", 0.3)
    chat.drips = True
    [send] = notifiers([chat.url], REDACT).values()
    for said in [*["did not answer within 0.3 s"] * UNENDED, "has not answered 4 earlier messages"]:
        with pytest.raises(Retryable, match=f"entry 1 of PINRAIL_NOTIFY_URLS {said}"):
            send({"title": "a", "text": "b"})
