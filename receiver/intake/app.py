"""The public listener: two webhooks, and 404 for all else. A plain ASGI app, so that it sees the raw bytes.

A delivery is verified, stored and committed before it is answered; what it leads to happens elsewhere. Nothing that
a client says about itself is trusted: no forwarded headers, no Host, no redirects.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from receiver.core.delivery import Delivery, DeliveryKind
from receiver.core.errors import Retryable
from receiver.intake import github, mlflow
from receiver.intake.headers import Headers, only
from serving.http.body import BodyLimits, BodyReader, Gone, Message, Receive, TooBusy, TooLarge, TooSlow

log = logging.getLogger(__name__)

# GitHub caps a payload at 25 MB and waits 10 s.
LIMITS = BodyLimits(
    body_bytes=25 * 1024 * 1024, body_seconds=8.0, budget_bytes=128 * 1024 * 1024, linger_bytes=50 * 1024 * 1024
)
LARGE = 256 * 1024  # bytes; hashing and parsing more than this would hold up everybody else's answers

Send = Callable[[Message], Awaitable[None]]

REPEAT_SECONDS = 60.0  # log refusals at most this often: strangers must not fill our log

MOST_WARNINGS = 20


class DeliveryStore(Protocol):
    """Where verified deliveries are kept."""

    async def accept(self, delivery: Delivery) -> None:
        """Store it, and the job that it asks for. On disk when this returns. Retryable: it is not."""
        ...


@dataclass(frozen=True, slots=True)
class Senders:
    """Who may deliver, and what concerns us."""

    github_secrets: Sequence[bytes] = field(repr=False)
    watched: github.Watched
    mlflow_secret: bytes | None = field(default=None, repr=False)  # None: no such webhook, 404

    def __post_init__(self) -> None:
        if not self.github_secrets or not all(self.github_secrets) or self.mlflow_secret == b"":
            raise ValueError("a webhook secret is empty: unsigned means rejected")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer with a JSON body."""

    status: int
    text: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


NOT_FOUND = Answer(404, "not found")
POST_ONLY = Answer(405, "only POST is answered here", ((b"allow", b"POST"),))
GONE = Answer(400, "the body ended early")
TOO_SLOW = Answer(408, "the body did not arrive in time")
TOO_LARGE = Answer(413, "the body is larger than any webhook's")
TOO_BUSY = Answer(503, "too much at once; deliver it again", ((b"retry-after", b"10"),))
UNSIGNED = Answer(401, "the signature is missing or does not fit")
WRONG_TYPE = Answer(415, "choose the content type application/json in the webhook's settings")
NOT_STORED = Answer(503, "the delivery could not be stored; deliver it again", ((b"retry-after", b"10"),))


class PublicApp:
    """The ASGI app of the public listener."""

    def __init__(self, senders: Senders, inbox: DeliveryStore, limits: BodyLimits = LIMITS) -> None:
        self._senders = senders
        self._inbox = inbox
        self._bodies = BodyReader(limits)
        self._routes = {b"/webhooks/github": self._github}
        if senders.mlflow_secret is not None:
            self._routes[b"/webhooks/mlflow"] = self._mlflow
        self._complained = -REPEAT_SECONDS  # monotonic
        self._warned: set[str] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        judge = self._routes.get(scope["raw_path"])
        if judge is None:
            await self._refuse(NOT_FOUND, receive, send)
        elif scope["method"] != "POST":
            await self._refuse(POST_ONLY, receive, send)
        else:
            await self._webhook(judge, scope["headers"], receive, send)

    async def _webhook(self, judge: "Judge", headers: Headers, receive: Receive, send: Send) -> None:
        try:
            body = await self._bodies.read(receive, only(headers, b"content-length") or b"")
        except TooLarge:
            await self._refuse(TOO_LARGE, receive, send)
        except TooSlow:
            await _answer(send, TOO_SLOW, close=True)
        except TooBusy:
            await self._refuse(TOO_BUSY, receive, send)
        except Gone:
            await _answer(send, GONE, close=True)
        else:
            judged = await asyncio.to_thread(judge, headers, body) if len(body) > LARGE else judge(headers, body)
            if isinstance(judged, Answer):  # closed: a stranger that is refused shall hold no connection
                await _answer(send, judged, close=True)
            else:
                await _answer(send, await self._store(judged))

    def _github(self, headers: Headers, body: bytes) -> Delivery | Answer:
        if not github.verify(self._senders.github_secrets, headers, body):
            self._complain("PINRAIL_WEBHOOK_SECRET", "GitHub's")
            return UNSIGNED
        if not _is_json(headers):
            return WRONG_TYPE
        identity = github.identify(headers)
        if identity is None:
            return Answer(400, "X-GitHub-Delivery and X-GitHub-Event are needed, once each")
        delivery, event = identity
        return Delivery(delivery, "github", event, body, github.parse(event, body, self._senders.watched), event)

    def _mlflow(self, headers: Headers, body: bytes) -> Delivery | Answer:
        if not mlflow.verify(self._senders.mlflow_secret or b"", headers, body, time.time()):
            self._complain("PINRAIL_MLFLOW_WEBHOOK_SECRET", "MLflow's")
            return UNSIGNED
        if not _is_json(headers):
            return WRONG_TYPE
        event, verdict = mlflow.parse(body)
        return Delivery(mlflow.identify(headers), "mlflow", event, body, verdict, "registry")

    def _complain(self, setting: str, whose: str) -> None:
        """Nothing of a stranger is kept; but whoever has set two secrets that differ must be able to find out."""
        now = time.monotonic()
        if now - self._complained >= REPEAT_SECONDS:
            self._complained = now
            log.warning(
                "a delivery was refused: its signature is missing or does not fit %s. If it was %s, set the same "
                "secret in its webhook (further refusals are not logged for a minute)",
                setting,
                whose,
            )

    async def _store(self, delivery: Delivery) -> Answer:
        """Commit first, answer then."""
        if delivery.verdict.kind is DeliveryKind.MALFORMED:
            return Answer(400, delivery.verdict.note)
        try:
            await self._inbox.accept(delivery)
        except Retryable as error:
            log.error("delivery %s of %s was not stored: %s", delivery.id, delivery.sender, error)  # noqa: TRY400
            return NOT_STORED
        log.info("%s %s %s: %s", delivery.sender, delivery.event, delivery.id, delivery.verdict.note)
        self._warn_once(delivery.verdict.warning)
        return Answer(200 if delivery.event == "ping" else 202, delivery.verdict.note)

    def _warn_once(self, warning: str) -> None:
        """A webhook of a whole organisation delivers for each of its repositories, again and again."""
        if warning and warning not in self._warned and len(self._warned) < MOST_WARNINGS:
            self._warned.add(warning)
            log.warning("%s", warning)

    async def _refuse(self, answer: Answer, receive: Receive, send: Send) -> None:
        """Answer before the body was read, then read on for a while so that the answer gets through."""
        await _answer(send, answer, close=True, finish=False)
        await self._bodies.linger(receive)
        await send({"type": "http.response.body", "body": b""})


Judge = Callable[[Headers, bytes], Delivery | Answer]


def _is_json(headers: Headers) -> bool:
    kind = only(headers, b"content-type") or b""
    return kind.split(b";")[0].strip().lower() == b"application/json"


async def _answer(send: Send, answer: Answer, *, close: bool = False, finish: bool = True) -> None:
    body = json.dumps({"detail": answer.text}).encode() + b"\n"
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *answer.headers,
    ]
    if close:
        headers.append((b"connection", b"close"))
    start: dict[str, Any] = {"type": "http.response.start", "status": answer.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": not finish})
