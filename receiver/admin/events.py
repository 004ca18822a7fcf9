"""The steps of one deployment as they happen, as server-sent events, which end when the deployment has ended.

https://html.spec.whatwg.org/multipage/server-sent-events.html. The page works without them: it is loaded anew now and
then. Each listener costs a look at the journal twice a second, so there may be only some.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import FastAPI, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse

from receiver.admin.views import DeploymentView, as_json
from receiver.core.deployment import Outcome

MOST = 20  # listeners at once
POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 10.0  # silence longer than this lets proxies, and people, think that nobody is there
LONGEST_SECONDS = 600.0  # then the browser asks again
HEADERS = {"X-Accel-Buffering": "no"}  # nginx would keep events until its buffer is full
RETRY_MILLISECONDS = 2000

_Find = Callable[[int], DeploymentView | None]


def add_events(app: FastAPI, find: _Find, stopping: threading.Event) -> None:
    """Let the app answer with events; ``find`` reads one deployment."""
    listeners = asyncio.Semaphore(MOST)

    @app.get("/deployments/{number}/events")
    async def events(request: Request, number: Annotated[int, Path(ge=1, le=2**53)]) -> Response:
        found = await run_in_threadpool(find, number)
        if found is None:
            return JSONResponse({"detail": f"deployment {number} is not on record"}, 404)
        seen = _seen(request)
        if found.outcome is not Outcome.RUNNING and seen == _end_id(found):
            return Response(status_code=204)  # the browser asked again for what has ended: it is to stop
        if listeners.locked():
            return JSONResponse({"detail": f"{MOST} pages listen already: close some"}, 503, {"Retry-After": "10"})
        counted = _counted(_stream(find, number, seen, stopping), listeners)
        return StreamingResponse(counted, 200, HEADERS, "text/event-stream")


async def _counted(stream: AsyncIterator[str], listeners: asyncio.Semaphore) -> AsyncIterator[str]:
    async with listeners:
        async for event in stream:
            yield event


async def _stream(find: _Find, number: int, seen: str, stopping: threading.Event) -> AsyncIterator[str]:
    """``step`` for each step that begins or ends, then ``end``."""
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    began = spoke = time.monotonic()
    sent = int(seen) if seen.isascii() and seen.isdecimal() and len(seen) < 7 else 0  # noqa: PLR2004 - digits
    while not stopping.is_set() and time.monotonic() - began < LONGEST_SECONDS:
        found = await run_in_threadpool(find, number)
        if found is None:
            return
        for place, step in enumerate(found.steps):
            number_of_event = 2 * place + (1 if step.result is None else 2)  # it began, and it ended
            if number_of_event > sent:
                sent, spoke = number_of_event, time.monotonic()
                yield f"id: {sent}\nevent: step\ndata: {json.dumps(as_json(step))}\n\n"
        if found.outcome is not Outcome.RUNNING:
            said = {"outcome": found.outcome, "reason": found.reason}
            yield f"id: {_end_id(found)}\nevent: end\ndata: {json.dumps(said)}\n\n"
            return
        if time.monotonic() - spoke > HEARTBEAT_SECONDS:
            yield ": still running\n\n"
            spoke = time.monotonic()
        await asyncio.sleep(POLL_SECONDS)


def _seen(request: Request) -> str:
    return request.headers.get("last-event-id", "")


def _end_id(found: DeploymentView) -> str:
    return f"end-{found.outcome}"
