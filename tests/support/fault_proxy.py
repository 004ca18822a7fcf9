"""An HTTP proxy in front of a real server that misbehaves on request."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.support.ports import free_port

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer in the upstream's place; it never sees the request."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"


@dataclass(frozen=True)
class Drop:
    """Close the connection without an answer; the upstream never sees the request."""


@dataclass(frozen=True)
class DropAfter:
    """Let the upstream do it, then close the connection without passing its answer on."""


@dataclass(frozen=True)
class Hang:
    """Let the upstream do it, and keep its answer until the proxy ends."""


@dataclass(frozen=True)
class Drip:
    """Pass the answer on, a byte at a time, for longer than anybody should wait."""


@dataclass(frozen=True)
class CutShort:
    """Pass on half of the answer, without its length, so that nobody can tell."""


@dataclass(frozen=True)
class Endless:
    """Answer with bytes that do not end, as long as somebody reads them."""


HTML = Answer(200, b"<html><body>Please sign in</body></html>", "text/html")
UNAVAILABLE = Answer(503, b"<html>upstream is being restarted</html>", "text/html")

Fault = Answer | Drop | DropAfter | Hang | Drip | CutShort | Endless


@dataclass
class FaultProxy:
    """Forwards to ``upstream``; ``plan`` makes the next requests of a kind fail."""

    upstream: str
    port: int = field(default_factory=free_port)
    streamed: int = 0  # bytes of answers that do not end
    seen: list[str] = field(default_factory=list)  # "POST /api/...", in order, also those that failed

    def __post_init__(self) -> None:
        self._faults: list[tuple[str, Fault, float]] = []
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        """The base URL to use in the upstream's place."""
        return f"http://127.0.0.1:{self.port}"

    def plan(self, fault: Fault, matching: str = "", times: float = 1) -> None:
        """Fail the next ``times`` requests whose ``METHOD /path`` contains ``matching``; ``inf``: all of them."""
        with self._lock:
            self._faults.append((matching, fault, times))

    def behave(self) -> None:
        """Forget every planned fault."""
        with self._lock:
            self._faults.clear()

    def start(self) -> None:
        """Listen, on the same port as before."""
        self.ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Be down: connections are refused."""
        self.ended.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def next_fault(self, request: str) -> Fault | None:
        """Note a request, and say how it is to fail."""
        with self._lock:
            self.seen.append(request)
            for index, (matching, fault, times) in enumerate(self._faults):
                if matching in request:
                    if times <= 1:
                        del self._faults[index]
                    else:
                        self._faults[index] = (matching, fault, times - 1)
                    return fault
        return None


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy in front of ``upstream``."""
    proxy = FaultProxy(upstream)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"proxy": proxy})


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultProxy

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.next_fault(f"{self.command} {self.path}")
        if isinstance(fault, Drop):
            self._cut()
            return
        if isinstance(fault, Endless):
            self._stream()
            return
        answer = fault if isinstance(fault, Answer) else self._ask(body)
        if isinstance(fault, CutShort):
            self._begin_without_length()
            self.wfile.write(answer.body[: len(answer.body) // 2])
            return
        if isinstance(fault, Hang):
            self.proxy.ended.wait()
        if isinstance(fault, Hang | DropAfter):
            self._cut()
        else:
            self._answer(answer, step=1 if isinstance(fault, Drip) else len(answer.body) or 1)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward  # noqa: N815 - http.server's names

    def _ask(self, body: bytes) -> Answer:
        target = urlsplit(self.proxy.upstream)
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
        try:
            connection.request(self.command, self.path, body=body, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.read(), response.getheader("Content-Type") or "text/plain")
        finally:
            connection.close()

    def _answer(self, answer: Answer, step: int) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        for start in range(0, len(answer.body), step):
            try:
                self.wfile.write(answer.body[start : start + step])
            except OSError:  # who asked has gone
                return
            if step < len(answer.body) and self.proxy.ended.wait(0.5):
                return

    def _begin_without_length(self) -> None:
        """The answer ends with the connection."""
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        self.close_connection = True

    def _stream(self) -> None:
        self._begin_without_length()
        with suppress(OSError):  # who asked has gone
            while not self.proxy.ended.wait(0.001):
                self.wfile.write(bytes(1 << 16))
                self.proxy.streamed += 1 << 16

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
