"""Adaptive batching: requests that arrive together are answered by one call to the model.

No request waits on purpose. The model is called as soon as one turn of the event loop brought no new request, or
enough rows have come; a turn takes microseconds. While a slow model runs in its thread, requests queue up, and then
go together. Long requests are cut into pieces, one piece per turn beside the short requests, so that a single row
never waits for a thousand. A request that cannot be answered in time is refused at once.
"""

import asyncio
import faulthandler
import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from serving.errors import DeadlineError, OverloadedError
from serving.metrics import Metrics
from serving.model.predictions import Predictions, concatenated
from serving.model.predictor import Params, Predictor
from serving.model.schema import MAX_ROWS, Row

# A model that is slower than this for one row runs in a thread, so that /health answers meanwhile.
INLINE_SECONDS = 0.003


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much may wait, and for how long."""

    waiting_rows: int = 4 * MAX_ROWS
    waiting_requests: int = 1000
    seconds: float = 10.0  # from a request's arrival to its answer
    give_up_seconds: float = (
        45.0  # for one call in the thread; then the process exits, because a thread can't be ended
    )
    piece_rows: int = 512  # of a long request, per turn
    turn_rows: int = 256  # of all short requests, per turn


class _Request:
    """One request in the queue."""

    __slots__ = ("answer", "deadline", "done", "params", "parts", "rows")

    def __init__(
        self, rows: Sequence[Row], params: Params, answer: "asyncio.Future[Predictions]", deadline: float
    ) -> None:
        self.rows = rows
        self.params = params
        self.answer = answer
        self.deadline = deadline
        self.done = 0  # rows that were handed to the model
        self.parts: list[Predictions] = []


_Piece = tuple[_Request, Sequence[Row]]


class Batcher:
    """The queue in front of a predictor. It belongs to one event loop."""

    def __init__(
        self, predictor: Predictor, limits: BatchLimits | None = None, metrics: Metrics | None = None
    ) -> None:
        self._metrics = metrics or Metrics({})
        self.limits = limits or BatchLimits()
        self.waiting_rows = 0
        self.waiting_requests = 0
        self._predictor = predictor
        self._batchable = predictor.runtime.rows_are_independent
        self._short: deque[_Request] = deque()
        self._long: deque[_Request] = deque()
        self._thread = None if predictor.seconds_per_row() < INLINE_SECONDS else ThreadPoolExecutor(1, "predict")
        # The event loop while a turn is scheduled or the thread is busy, else None. Getting it from asyncio is a
        # system call in Python 3.11, so that happens once per batch.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seen = 0  # length of the short queue at the last turn
        self._busy_since: float | None = None

    @property
    def unresponsive(self) -> bool:
        """The model has been busy in its thread for so long that every request before it was refused."""
        return self._busy_since is not None and time.monotonic() - self._busy_since > 2 * self.limits.seconds

    async def predict(self, rows: Sequence[Row], params: Params = None) -> Predictions:
        """Answer one request's rows, with its params if the model takes any.

        Raises:
            OverloadedError: the queue is full.
            DeadlineError: the answer was not ready in time.
            PredictionError: the model fails, or its answer is not finite.
        """
        limits, count = self.limits, len(rows)
        if self.waiting_rows + count > limits.waiting_rows or self.waiting_requests >= limits.waiting_requests:
            raise OverloadedError(f"{self.waiting_requests} requests are waiting already; try again in a second")
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
            loop.call_soon(self._turn, loop)
        request = _Request(rows, params, loop.create_future(), loop.time() + limits.seconds)
        (self._long if self._batchable and count > limits.piece_rows else self._short).append(request)
        self.waiting_rows += count
        self.waiting_requests += 1
        try:
            if self._thread is None:
                return await request.answer
            async with asyncio.timeout_at(request.deadline):
                return await request.answer
        except TimeoutError:
            raise _deadline_error(limits) from None
        finally:
            self.waiting_rows -= count
            self.waiting_requests -= 1

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._seen < len(self._short) and self.waiting_rows < self.limits.turn_rows:
            self._seen = len(self._short)
            loop.call_soon(self._turn, loop)
            return
        pieces = self._next_pieces(loop.time())
        self._seen = 0
        if not pieces:
            self._loop = None
        elif self._thread is None:
            self._deliver(pieces, self._predict_pieces(pieces))
            if self._short or self._long:
                loop.call_soon(self._turn, loop)
            else:
                self._loop = None
        else:
            self._busy_since = time.monotonic()
            running = loop.run_in_executor(self._thread, self._predict_or_exit, pieces)
            running.add_done_callback(lambda done: self._thread_done(loop, pieces, done.result()))

    def _thread_done(
        self, loop: asyncio.AbstractEventLoop, pieces: Sequence[_Piece], answers: Sequence[Predictions | Exception]
    ) -> None:
        self._busy_since = None
        self._deliver(pieces, answers)
        self._turn(loop)

    def _next_pieces(self, now: float) -> list[_Piece]:
        """Take what this turn answers: short requests up to ``turn_rows``, and a piece of a long one."""
        pieces: list[_Piece] = []
        rows = 0
        while self._short and rows < self.limits.turn_rows:
            request = self._short.popleft()
            if self._is_waiting(request, now):
                pieces.append((request, request.rows))
                rows += len(request.rows)
                if not self._batchable:
                    return pieces
        while self._long and not self._is_waiting(self._long[0], now):
            self._long.popleft()
        if self._long:
            request = self._long[0]
            piece = request.rows[request.done : request.done + self.limits.piece_rows]
            request.done += len(piece)
            pieces.append((request, piece))
            # To the end of the queue: long requests take turns.
            self._long.popleft()
            if request.done < len(request.rows):
                self._long.append(request)
        return pieces

    def _is_waiting(self, request: _Request, now: float) -> bool:
        if not request.answer.done() and request.deadline < now:
            request.answer.set_exception(_deadline_error(self.limits))
        return not request.answer.done()

    def _predict(self, rows: Sequence[Row], params: Params = None) -> Predictions:
        predictions = self._predictor.predict(rows, params)
        self._metrics.batch(predictions)
        return predictions

    def _predict_pieces(self, pieces: Sequence[_Piece]) -> list[Predictions | Exception]:
        """Call the model once for all pieces; if that fails, once for each, so that a bad piece fails alone."""
        try:
            if len(pieces) == 1:
                request, rows = pieces[0]
                return [self._predict(rows, request.params)]
            # Models with params are never merged: only pyfunc runs them, whose rows are not independent.
            combined = self._predict([row for _, rows in pieces for row in rows])
        except Exception as error:  # noqa: BLE001 - raised again where the request waits
            return [error] if len(pieces) == 1 else [self._predict_pieces([piece])[0] for piece in pieces]
        answers: list[Predictions | Exception] = []
        start = 0
        for _, rows in pieces:
            answers.append(combined.part(start, start + len(rows)))
            start += len(rows)
        return answers

    def _predict_or_exit(self, pieces: Sequence[_Piece]) -> list[Predictions | Exception]:
        """Predict in the thread. If the model hangs, the process exits, and the target starts it again."""
        faulthandler.dump_traceback_later(self.limits.give_up_seconds, exit=True, file=sys.__stderr__ or sys.stderr)
        try:
            return self._predict_pieces(pieces)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _deliver(self, pieces: Sequence[_Piece], answers: Sequence[Predictions | Exception]) -> None:
        for (request, rows), answer in zip(pieces, answers, strict=True):
            if request.answer.done():
                continue  # refused meanwhile: past its deadline, or another of its pieces failed
            if isinstance(answer, Exception):
                request.answer.set_exception(answer)
            elif len(rows) == len(request.rows):
                request.answer.set_result(answer)
            else:
                request.parts.append(answer)
                if sum(len(part) for part in request.parts) == len(request.rows):
                    request.answer.set_result(concatenated(request.parts))


def _deadline_error(limits: BatchLimits) -> DeadlineError:
    return DeadlineError(f"the answer was not ready within {limits.seconds:g} s")
