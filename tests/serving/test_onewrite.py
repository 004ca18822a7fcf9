"""Answers leave in one write, and one that comes in parts does not wait for its next part."""

import asyncio
import socket

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from serving.onewrite import OneWriteProtocol, OneWriteTransport


class Recording(asyncio.Transport):
    """Remembers what reached the socket."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: "bytes | bytearray | memoryview[int]") -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.written.append(b"closed")

    def get_write_buffer_size(self) -> int:
        return 0


def test_two_writes_become_one() -> None:
    async def run() -> list[bytes]:
        inner = Recording()
        transport = OneWriteTransport(inner, asyncio.get_running_loop())
        transport.write(b"head ")
        assert (inner.written, transport.get_write_buffer_size()) == ([], 5)
        transport.write(b"body")
        assert transport.get_write_buffer_size() == 0
        await asyncio.sleep(0)
        return inner.written

    assert asyncio.run(run()) == [b"head body"]


def test_a_lone_write_leaves_in_the_next_turn_and_before_the_end() -> None:
    async def run() -> list[bytes]:
        inner = Recording()
        transport = OneWriteTransport(inner, asyncio.get_running_loop())
        transport.write(b"alone")
        await asyncio.sleep(0)
        assert inner.written == [b"alone"]
        transport.write(b"last")
        transport.close()
        await asyncio.sleep(0)
        return inner.written

    assert asyncio.run(run()) == [b"alone", b"last", b"closed"]


@pytest.mark.parametrize("parts", [[b"one"], [b"one", b"two", b"three"]])
def test_an_answer_in_parts_arrives_part_by_part(parts: list[bytes]) -> None:
    seen = asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.wait_for(seen.wait(), 10)
            seen.clear()
        await send({"type": "http.response.body", "body": b""})

    async def run() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=OneWriteProtocol, lifespan="off", log_level="error")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            assert await asyncio.wait_for(reader.readuntil(part + b"\r\n"), 10)
            seen.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"
        writer.close()
        server.should_exit = True
        await serving

    asyncio.run(run())
