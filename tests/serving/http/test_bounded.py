"""What a stranger may hold open of a model server: little, and not for long."""

import asyncio
import subprocess
import sys

import pytest

from serving.http.onewrite import OneWriteProtocol
from tests.support.echo import LAST, answer, request, serving

HEAD = b"POST / HTTP/1.1\r\nHost: test\r\n"


class Impatient(OneWriteProtocol):
    """Waits briefly for a request, and takes few connections."""

    connections_max = 3
    request_seconds = 0.3


class Patient(OneWriteProtocol):
    """Gives a request that comes byte by byte the time that it needs on a busy machine."""

    request_seconds = 1.5


async def ends(address: tuple[str, int], sent: bytes, every: bytes = b"") -> bool:
    """Whether the server closes on somebody who sends this, and then one more thing again and again."""
    reader, writer = await asyncio.open_connection(*address)
    reading = asyncio.create_task(reader.read())
    try:
        async with asyncio.timeout(10):
            writer.write(sent)
            while not reading.done() and every:
                writer.write(every)
                await writer.drain()
                await asyncio.sleep(0.0 if len(every) > 100 else 0.01)
            return b"200" not in await reading
    except TimeoutError:  # which is an OSError too
        return False
    except OSError:
        return True
    finally:
        writer.transport.abort()
        await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.parametrize(
    ("sent", "every"),
    [
        (HEAD, b"X-1: %s\r\n" % (b"y" * 1000)),
        (HEAD + b"X-1: ", b"y" * 1000),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-1: %s\r\n" % (b"y" * 1000)),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"y" * 1000),
    ],
    ids=["headers", "one header", "trailers", "chunk extension"],
)
def test_what_has_no_end_and_is_no_body_is_cut_off(sent: bytes, every: bytes) -> None:
    async def run() -> bytes:
        async with serving(OneWriteProtocol) as address:
            assert await ends(address, sent, every)
            return await answer(address, request(b"next", extra=LAST))

    assert asyncio.run(run()).endswith(b"next")


@pytest.mark.parametrize(
    ("sent", "every"),
    [(b"", b""), (b"PO", b""), (HEAD, b""), (HEAD + b"X-1: ", b"y"), (HEAD + b"Content-Length: 9000\r\n\r\n", b"y")],
    ids=["nothing", "a beginning", "half a head", "a head that drips", "a body that drips"],
)
def test_a_request_that_does_not_come_to_its_end_holds_its_connection_for_a_while_only(
    sent: bytes, every: bytes
) -> None:
    async def run() -> None:
        async with serving(Impatient, keep_alive=1) as address:
            assert await ends(address, sent, every)

    asyncio.run(run())


def test_a_request_in_pieces_that_comes_to_its_end_is_answered_and_so_is_the_next() -> None:
    async def run() -> list[bytes]:
        async with serving(Patient) as address:
            reader, writer = await asyncio.open_connection(*address)
            said = []
            for body in (b"first", b"second"):
                for byte in request(body):
                    writer.write(bytes([byte]))
                    await writer.drain()
                said.append(await asyncio.wait_for(reader.readuntil(body), 20))
                if body == b"first":  # the time that it had is over, and its connection is not
                    await asyncio.sleep(1.1 * Patient.request_seconds)
            writer.close()
            return said

    assert [answered[:15] for answered in asyncio.run(run())] == [b"HTTP/1.1 200 OK"] * 2


def test_open_connections_are_capped_and_the_others_go_on() -> None:
    async def run() -> bytes:
        async with serving(Impatient) as address:
            held = [await asyncio.open_connection(*address) for _ in range(Impatient.connections_max)]
            assert await ends(address, b"")
            reader, writer = held[0]
            writer.write(request(b"mine", extra=LAST))
            said = await asyncio.wait_for(reader.read(), 20)
            for _, other in held:
                other.transport.abort()
            return said

    assert asyncio.run(run()).endswith(b"mine")


FEW_FILES = """
import resource as r
from serving.http.bounded import BoundedProtocol, allow_open_files
r.setrlimit(r.RLIMIT_NOFILE, (256, r.getrlimit(r.RLIMIT_NOFILE)[1]))
allow_open_files()
assert r.getrlimit(r.RLIMIT_NOFILE)[0] > BoundedProtocol.connections_max
"""


def test_a_process_may_open_as_many_files_as_it_takes_connections() -> None:
    subprocess.run([sys.executable, "-c", FEW_FILES], check=True, timeout=60)
