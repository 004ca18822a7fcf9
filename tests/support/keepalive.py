"""Clients that keep their connections open and count every failure: refused, reset, cut short, or not 200."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """One request's fate, on the monotonic clock."""

    sent: float
    received: float
    version: int
    last: bool  # said Connection: close


@dataclass
class Load:
    """What the clients saw."""

    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    connects: int = 0


@contextlib.contextmanager
def load(port: int, connections: int, path: str = "/health", body: bytes | None = None) -> Iterator[Load]:
    """Ask over so many kept-alive connections for as long as the block runs; with a ``body`` by POST.

    Each client pauses differently long between two requests, 1 to 50 ms, so some connections are idle at any moment.
    """
    seen = Load()
    stop = threading.Event()
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body or b'')}\r\n\r\n".encode() + (body or b"")

    def pause(number: int) -> float:
        return 0.001 * (1 + (number % 8) ** 2)

    async def everything() -> None:
        await asyncio.gather(*(_client((port, request), pause(number), seen, stop) for number in range(connections)))

    thread = threading.Thread(target=asyncio.run, args=(everything(),))
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(30)


async def _client(place: tuple[int, bytes], pause: float, seen: Load, stop: threading.Event) -> None:
    port, request = place
    writer = None
    while not stop.is_set():
        sent = time.monotonic()
        try:
            if writer is None:
                seen.connects += 1
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            async with asyncio.timeout(10):
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
            if not head.startswith(b"http/1.1 200"):
                raise ValueError(head[:40])  # noqa: TRY301 - one place counts all failures
            last = b"connection: close" in head
            seen.answers.append(Answer(sent, time.monotonic(), json.loads(body)["version"], last))
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            seen.failures.append(f"{time.monotonic():.3f} {error!r}")
            last = True
        if last and writer is not None:
            writer.close()
            writer = None
        await asyncio.sleep(pause)
    if writer is not None:
        writer.close()
