"""Requests that arrive together are answered together.

Nobody waits for company: the model is asked as soon as a turn of the event loop brought nobody new, or enough have
come. A turn takes microseconds, and while each brings more there is something better to do, which is to read them.
While a slow model is busy in its thread requests pile up, and then leave together. Long requests are cut into pieces,
one piece a turn beside everything short, so that a row never waits for a thousand. What can't be answered in time is
refused at once.
"""

import asyncio
import faulthandler
import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from serving.errors import DeadlineError, OverloadedError
from serving.metrics import Metrics
from serving.model.predictions import Predictions
from serving.model.predictor import Params, Predictor
from serving.model.schema import MAX_ROWS, Row

# Slower than this for one row, and the model runs in a thread, so that the server stays able to say that it lives.
INLINE_SECONDS = 0.003


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much may wait, and for how long."""

    waiting_rows: int = 4 * MAX_ROWS
    waiting_requests: int = 1000
    seconds: float = 10.0  # from a request's arrival to its answer
    give_up_seconds: float = 45.0  # that the model may be busy with one piece: a thread can't be ended, a process can
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
    """The one queue in front of a predictor. It belongs to one event loop."""

    def __init__(
        self, predictor: Predictor, limits: BatchLimits | None = None, metrics: Metrics | None = None
    ) -> None:
        self._metrics = metrics or Metrics({})
        self.limits = limits or BatchLimits()
        self.waiting_rows = 0
        self.waiting_requests = 0
        self._predictor = predictor
        self._together = predictor.runtime.rows_are_independent
        self._short: deque[_Request] = deque()
        self._long: deque[_Request] = deque()
        self._thread = None if predictor.seconds_per_row() < INLINE_SECONDS else ThreadPoolExecutor(1, "predict")
        # The loop in which a turn is to come, or a thread is to come back; None when nobody waits. Asking asyncio for
        # it is a system call in Python 3.11, so that is done once for all who wait together.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seen = 0  # short requests that had come when the last turn looked
        self._busy_since: float | None = None

    @property
    def stuck(self) -> bool:
        """The model has been busy in its thread for so long that whoever waits for it has been refused."""
        return self._busy_since is not None and time.monotonic() - self._busy_since > 2 * self.limits.seconds

    async def predict(self, rows: Sequence[Row], params: Params = None) -> Predictions:
        """Answer one request's rows; with params of its own, where the model has any.

        Raises:
            OverloadedError: too much is waiting already.
            DeadlineError: the answer was not ready in time.
            PredictionError: the model fails, or has no finite answer.
        """
        limits, count = self.limits, len(rows)
        if self.waiting_rows + count > limits.waiting_rows or self.waiting_requests >= limits.waiting_requests:
            raise OverloadedError(f"{self.waiting_requests} requests are waiting already; try again in a second")
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
            loop.call_soon(self._turn, loop)
        request = _Request(rows, params, loop.create_future(), loop.time() + limits.seconds)
        (self._long if self._together and count > limits.piece_rows else self._short).append(request)
        self.waiting_rows += count
        self.waiting_requests += 1
        try:
            if self._thread is None:
                return await request.answer
            async with asyncio.timeout_at(request.deadline):
                return await request.answer
        except TimeoutError:
            raise _too_late(limits) from None
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
            self._give(pieces, self._ask(pieces))
            if self._short or self._long:
                loop.call_soon(self._turn, loop)
            else:
                self._loop = None
        else:
            self._busy_since = time.monotonic()
            running = loop.run_in_executor(self._thread, self._ask_or_end, pieces)
            running.add_done_callback(lambda done: self._back_from_thread(loop, pieces, done.result()))

    def _back_from_thread(
        self, loop: asyncio.AbstractEventLoop, pieces: Sequence[_Piece], answers: Sequence[Predictions | Exception]
    ) -> None:
        self._busy_since = None
        self._give(pieces, answers)
        self._turn(loop)

    def _next_pieces(self, now: float) -> list[_Piece]:
        """Take what this turn answers: short requests up to a number of rows, and a piece of a long one."""
        pieces: list[_Piece] = []
        rows = 0
        while self._short and rows < self.limits.turn_rows:
            request = self._short.popleft()
            if self._still_wanted(request, now):
                pieces.append((request, request.rows))
                rows += len(request.rows)
                if not self._together:
                    return pieces
        while self._long and not self._still_wanted(self._long[0], now):
            self._long.popleft()
        if self._long:
            request = self._long[0]
            piece = request.rows[request.done : request.done + self.limits.piece_rows]
            request.done += len(piece)
            pieces.append((request, piece))
            # The longest wait is shared: the next turn serves the next long request.
            self._long.popleft()
            if request.done < len(request.rows):
                self._long.append(request)
        return pieces

    def _still_wanted(self, request: _Request, now: float) -> bool:
        if not request.answer.done() and request.deadline < now:
            request.answer.set_exception(_too_late(self.limits))
        return not request.answer.done()

    def _predict(self, rows: Sequence[Row], params: Params = None) -> Predictions:
        predictions = self._predictor.predict(rows, params)
        self._metrics.batch(predictions)
        return predictions

    def _ask(self, pieces: Sequence[_Piece]) -> list[Predictions | Exception]:
        """Ask the model for all pieces at once; where it fails, for each alone, so that one spoils no other."""
        try:
            if len(pieces) == 1:
                request, rows = pieces[0]
                return [self._predict(rows, request.params)]
            # Models with params are never asked together: their runtime says that rows depend on each other.
            together = self._predict([row for _, rows in pieces for row in rows])
        except Exception as error:  # noqa: BLE001 - it is raised where the request waits
            return [error] if len(pieces) == 1 else [self._ask([piece])[0] for piece in pieces]
        answers: list[Predictions | Exception] = []
        start = 0
        for _, rows in pieces:
            answers.append(together.part(start, start + len(rows)))
            start += len(rows)
        return answers

    def _ask_or_end(self, pieces: Sequence[_Piece]) -> list[Predictions | Exception]:
        """Ask in the thread. Where the model never comes back, the process ends, so that it can be started anew."""
        faulthandler.dump_traceback_later(self.limits.give_up_seconds, exit=True, file=sys.__stderr__ or sys.stderr)
        try:
            return self._ask(pieces)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _give(self, pieces: Sequence[_Piece], answers: Sequence[Predictions | Exception]) -> None:
        for (request, rows), answer in zip(pieces, answers, strict=True):
            if request.answer.done():
                continue  # refused meanwhile: too late, or one of its other pieces failed
            if isinstance(answer, Exception):
                request.answer.set_exception(answer)
            elif len(rows) == len(request.rows):
                request.answer.set_result(answer)
            else:
                request.parts.append(answer)
                if sum(len(part) for part in request.parts) == len(request.rows):
                    request.answer.set_result(_joined(request.parts))


def _joined(parts: Sequence[Predictions]) -> Predictions:
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    return Predictions(
        np.concatenate([part.labels for part in parts]), np.concatenate(probabilities) if probabilities else None
    )


def _too_late(limits: BatchLimits) -> DeadlineError:
    return DeadlineError(f"the answer was not ready within {limits.seconds:g} s")
