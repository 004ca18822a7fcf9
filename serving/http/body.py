"""Reading request bodies with a size limit, a deadline, and a memory budget for all of them together."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits per body, and for all bodies together."""

    body_bytes: int
    body_seconds: float
    budget_bytes: int  # of bodies held in memory at once
    linger_bytes: int  # read and discarded after an error response, so that the client receives it


class TooLarge(Exception):  # noqa: N818 - named for the limit; callers map it to their own errors
    """The body is over the size limit."""


class TooSlow(Exception):  # noqa: N818 - as above
    """The body did not arrive in time."""


class TooBusy(Exception):  # noqa: N818 - as above
    """The memory budget for bodies is used up."""


class Gone(Exception):  # noqa: N818 - as above
    """The client disconnected before the end of the body."""


class BodyReader:
    """Reads the bodies of one app, and counts the bytes they hold together."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._held = 0

    async def read(self, receive: Receive, declared: bytes = b"", first: Message | None = None) -> bytes:
        """The whole body. Raises TooLarge, TooSlow, TooBusy or Gone as soon as one is certain.

        ``declared``: the request's Content-Length, if it has one. ``first``: a message that was received already.
        """
        if declared.isdigit() and (len(declared) > len("1000000000") or int(declared) > self._limits.body_bytes):
            raise TooLarge
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                await self._collect(receive, first or await receive(), chunks)
        except TimeoutError as error:
            raise TooSlow from error
        finally:
            self._held -= sum(map(len, chunks))
        return b"".join(chunks)

    async def _collect(self, receive: Receive, message: Message, chunks: list[bytes]) -> None:
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise Gone
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._limits.body_bytes:
                raise TooLarge
            if self._held + len(chunk) > self._limits.budget_bytes:
                raise TooBusy
            self._held += len(chunk)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return
            message = await receive()

    async def linger(self, receive: Receive) -> None:
        """Discard what the client still sends, within limits: closing on unread bytes resets the connection."""
        left = self._limits.linger_bytes
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return
        except TimeoutError:
            return
