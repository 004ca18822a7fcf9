"""Answers leave in one write, say the same as uvicorn's own, and wait for clients that are slow to read."""

import asyncio
import re
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.http.bounded import BoundedProtocol
from serving.http.onewrite import OneWriteProtocol
from tests.support.echo import LAST, answer, request, serving

written: list[bytes] = []


class Recording:
    """A transport that remembers what was written to it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        written.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Recorded(OneWriteProtocol):
    """The protocol under test, overheard."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Recording(transport))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "asked",
    [
        request(b"hello", extra=LAST),
        request(b"", extra=LAST),
        request(b"hello", version="1.0"),
        request(b"first") + request(b"second") + request(b"third", extra=LAST),
        request(b"hello", extra=f"Expect: 100-continue\r\n{LAST}"),
        request(b"y" * 200_000, extra=LAST),
    ],
    ids=["one", "a refusal", "HTTP/1.0", "pipelined", "expect", "long"],
)
def test_the_answer_has_what_uvicorn_itself_would_have_written(asked: bytes) -> None:
    async def run() -> tuple[bytes, bytes]:
        async with serving(HttpToolsProtocol) as plain, serving(OneWriteProtocol) as ours:
            return await answer(plain, asked), await answer(ours, asked)

    plain, ours = asyncio.run(run())
    assert _lines(ours) == _lines(plain)
    assert b"200 OK" in ours or b"422" in ours


def _lines(said: bytes) -> list[bytes]:
    """The order of headers means nothing."""
    return sorted(said.split(b"\r\n"))


def test_a_whole_answer_is_one_write() -> None:
    written.clear()

    async def run() -> None:
        async with serving(Recorded) as address:
            await answer(address, request(b"first") + request(b"second", extra=LAST))

    asyncio.run(run())
    assert [write[-6:] for write in written] == [b"\nfirst", b"second"]
    assert all(write.startswith(b"HTTP/1.1 200 OK\r\n") for write in written)


def test_an_answer_to_head_has_no_body() -> None:
    async def run() -> bytes:
        async with serving(OneWriteProtocol) as address:
            return await answer(address, request(b"", method="HEAD", extra=LAST))

    assert asyncio.run(run()).endswith(b"\r\n\r\n")


def test_a_client_that_does_not_read_holds_its_next_answers_back_and_loses_none() -> None:
    size, times = 1_000_000, 40
    written.clear()

    async def run() -> bytes:
        async with serving(Recorded) as address:
            reader, writer = await asyncio.open_connection(*address, limit=1024)
            writer.write(request(str(size).encode()) * (times - 1) + request(str(size).encode(), extra=LAST))
            before = -1
            while before != sum(map(len, written)):  # until the server no longer goes on
                before = sum(map(len, written))
                await asyncio.sleep(0.2)
            assert before < size * times / 2
            said = await asyncio.wait_for(reader.read(), 60)
            writer.close()
            return said

    said = asyncio.run(run())
    assert len(re.findall(rb"HTTP/1.1 200 OK", said)) == times
    assert said.count(b"x" * size) == times


def test_a_client_that_went_away_harms_nobody() -> None:
    async def run() -> bytes:
        async with serving(OneWriteProtocol) as address:
            _, writer = await asyncio.open_connection(*address)
            writer.write(request(b"1000000"))
            writer.transport.abort()
            return await answer(address, request(b"still here", extra=LAST))

    assert asyncio.run(run()).endswith(b"still here")


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01 no HTTP\r\n\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"]
)
@pytest.mark.parametrize("before", [0, 1, 2, 3])
@pytest.mark.parametrize("protocol", [BoundedProtocol, OneWriteProtocol])
def test_garbage_after_good_requests_in_one_segment_is_refused_after_their_answers(
    protocol: type[BoundedProtocol], before: int, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> tuple[bytes, bytes]:
        async with serving(protocol) as address:
            first = await answer(address, request(b"good") * before + garbage)
            return first, await answer(address, request(b"still here", extra=LAST))

    said, after = asyncio.run(run())
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200"] * before + [b"400"]
    assert said.count(b"good") == before
    assert after.endswith(b"still here")
    assert "Traceback" not in caplog.text


def test_what_clients_send_leaves_nothing_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    upgrade = "Connection: upgrade, close\r\nUpgrade: websocket\r\n"

    async def run() -> None:
        async with serving(OneWriteProtocol) as address:
            for _ in range(20):
                await answer(address, b"no HTTP at all\r\n\r\n")
                assert b"HTTP/1.1 422" in await answer(address, request(b"", method="GET", extra=upgrade))

    asyncio.run(run())
    assert caplog.text == ""
