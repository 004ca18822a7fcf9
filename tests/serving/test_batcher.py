"""Micro-batching: together when they come together, alone when alone; nobody starves, hangs or spoils others."""

# ruff: noqa: ASYNC110 - what is waited for is the state of the thing under test

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.batcher import Batcher, BatchLimits
from serving.errors import DeadlineError, OverloadedError, PredictionError
from serving.model.model_dir import Column, ModelDir
from serving.model.predictions import Predictions
from serving.model.predictor import Predictor

MODEL = ModelDir(Path("none"), (Column("n", "long"),), (), frozenset(), None, None)


class Recorder:
    """A runtime that answers each number with itself, and remembers how it was asked."""

    name = "recorder"

    def __init__(self, act: Callable[[Sequence[int]], None] = lambda _: None, *, independent: bool = True) -> None:
        self.rows_are_independent = independent
        self.asked: list[list[int]] = []
        self.act = act

    def run(self, columns: Sequence[Sequence[Any]], params: Any = None) -> Predictions:
        numbers = list(columns[0])
        self.asked.append(numbers)
        self.act(numbers)
        array = np.array(numbers)
        return Predictions(array, np.stack([array / 10, 1 - array / 10], axis=1))


class Quick(Predictor):
    """Runs in the event loop."""

    def seconds_per_row(self) -> float:
        return 0.0


class Slow(Predictor):
    """Runs in a thread."""

    def seconds_per_row(self) -> float:
        return 1.0


def rows(*numbers: int) -> list[tuple[int, ...]]:
    return [(number,) for number in numbers]


def labels(predictions: Predictions) -> list[int]:
    numbers: list[int] = predictions.labels.tolist()
    return numbers


@pytest.mark.parametrize("kind", [Quick, Slow])
def test_requests_that_come_together_are_asked_together_and_get_their_own_answers(kind: type[Predictor]) -> None:
    runtime = Recorder()

    async def both() -> list[Predictions]:
        batcher = Batcher(kind(MODEL, runtime))
        return await asyncio.gather(
            batcher.predict(rows(1, 2)), batcher.predict(rows(3)), batcher.predict(rows(4, 5))
        )

    answers = asyncio.run(both())
    assert [labels(answer) for answer in answers] == [[1, 2], [3], [4, 5]]
    assert answers[1].probabilities is not None
    assert answers[1].probabilities.tolist() == [[0.3, 0.7]]
    assert runtime.asked == [[1, 2, 3, 4, 5]]


def test_a_lone_request_waits_for_one_turn_of_the_loop_and_no_longer() -> None:
    async def turns() -> int:
        batcher, count = Batcher(Quick(MODEL, Recorder())), 0
        task = asyncio.create_task(batcher.predict(rows(1)))
        while not task.done():
            await asyncio.sleep(0)
            count += 1
        return count

    # The task starts, nobody else comes, the model is asked, the task wakes, the loop sees it.
    assert asyncio.run(turns()) <= 5


def _arriving(count: int, limits: BatchLimits) -> list[list[int]]:
    """What the model is asked while one request arrives in every turn of the loop."""
    runtime = Recorder()

    async def run() -> None:
        batcher = Batcher(Quick(MODEL, runtime), limits)
        tasks = []
        for number in range(count):
            tasks.append(asyncio.create_task(batcher.predict(rows(number))))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    asyncio.run(run())
    return runtime.asked


def test_while_more_arrive_with_every_turn_the_model_is_not_asked_for_each() -> None:
    assert _arriving(20, BatchLimits()) == [list(range(20))]


def test_a_stream_of_requests_that_does_not_end_is_answered_all_the_same() -> None:
    asked = _arriving(20, BatchLimits(turn_rows=5))
    assert max(len(numbers) for numbers in asked) <= 6
    assert [number for numbers in asked for number in numbers] == list(range(20))


def test_while_the_model_is_busy_requests_gather_and_leave_together() -> None:
    first = threading.Event()
    runtime = Recorder(lambda numbers: None if numbers != [0] else (first.wait(10), None)[1])

    async def run() -> None:
        batcher = Batcher(Slow(MODEL, runtime))
        head = asyncio.create_task(batcher.predict(rows(0)))
        while not runtime.asked:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(batcher.predict(rows(n))) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        first.set()
        await asyncio.gather(head, *others)

    asyncio.run(run())
    assert runtime.asked == [[0], [1, 2, 3]]


def test_a_long_request_is_cut_into_pieces_and_short_ones_pass_between_them() -> None:
    runtime = Recorder()
    limits = BatchLimits(piece_rows=10)
    order: list[str] = []

    async def run() -> Predictions:
        batcher = Batcher(Quick(MODEL, runtime), limits)

        async def short() -> None:
            await batcher.predict(rows(7))
            order.append("short")

        async def long() -> Predictions:
            answer = await batcher.predict(rows(*range(1000)))
            order.append("long")
            return answer

        task = asyncio.create_task(long())
        await asyncio.sleep(0)
        await asyncio.gather(*(short() for _ in range(3)))
        assert not task.done()
        return await task

    answer = asyncio.run(run())
    assert labels(answer) == list(range(1000))
    assert answer.probabilities is not None
    assert answer.probabilities.shape == (1000, 2)
    assert max(len(asked) for asked in runtime.asked) <= 13
    assert order == ["short", "short", "short", "long"]


def test_two_long_requests_take_turns() -> None:
    runtime = Recorder()

    async def run() -> None:
        batcher = Batcher(Quick(MODEL, runtime), BatchLimits(piece_rows=2))
        await asyncio.gather(batcher.predict(rows(*[1] * 6)), batcher.predict(rows(*[2] * 6)))

    asyncio.run(run())
    assert runtime.asked == [[1, 1], [2, 2]] * 3


def test_rows_of_a_model_that_looks_at_all_of_them_are_neither_mixed_nor_cut() -> None:
    runtime = Recorder(independent=False)

    async def run() -> None:
        batcher = Batcher(Quick(MODEL, runtime), BatchLimits(piece_rows=2))
        await asyncio.gather(batcher.predict(rows(1, 2, 3)), batcher.predict(rows(4)))

    asyncio.run(run())
    assert runtime.asked == [[1, 2, 3], [4]]


@pytest.mark.parametrize("kind", [Quick, Slow])
def test_a_row_that_the_model_fails_on_fails_its_own_request_only(kind: type[Predictor]) -> None:
    def act(numbers: Sequence[int]) -> None:
        if 13 in numbers:
            raise PredictionError("thirteen")

    async def run() -> list[Any]:
        batcher = Batcher(kind(MODEL, Recorder(act)))
        return await asyncio.gather(*(batcher.predict(rows(n)) for n in (12, 13, 14)), return_exceptions=True)

    twelve, thirteen, fourteen = asyncio.run(run())
    assert (labels(twelve), labels(fourteen)) == ([12], [14])
    assert isinstance(thirteen, PredictionError)


def test_a_long_request_fails_once_when_one_of_its_pieces_does() -> None:
    def act(numbers: Sequence[int]) -> None:
        if 5 in numbers:
            raise PredictionError("five")

    async def run() -> None:
        batcher = Batcher(Quick(MODEL, Recorder(act)), BatchLimits(piece_rows=2))
        with pytest.raises(PredictionError, match="five"):
            await batcher.predict(rows(*range(10)))
        assert labels(await batcher.predict(rows(1))) == [1]
        assert (batcher.waiting_rows, batcher.waiting_requests) == (0, 0)

    asyncio.run(run())


@pytest.mark.parametrize("limits", [BatchLimits(waiting_requests=2), BatchLimits(waiting_rows=2)])
def test_past_the_bound_a_request_is_refused_at_once_and_the_others_are_answered(limits: BatchLimits) -> None:
    async def run() -> list[Any]:
        batcher = Batcher(Quick(MODEL, Recorder()), limits)
        return await asyncio.gather(*(batcher.predict(rows(n)) for n in range(3)), return_exceptions=True)

    zero, one, refused = asyncio.run(run())
    assert (labels(zero), labels(one)) == ([0], [1])
    assert isinstance(refused, OverloadedError)
    assert refused.retry_after == 1


def test_a_request_that_waits_too_long_is_refused_and_never_asked() -> None:
    free = threading.Event()
    runtime = Recorder(lambda numbers: None if 0 not in numbers else (free.wait(10), None)[1])

    async def run() -> None:
        batcher = Batcher(Slow(MODEL, runtime), BatchLimits(seconds=0.05))
        results = await asyncio.gather(batcher.predict(rows(0)), _schedule_retry(batcher, 1), return_exceptions=True)
        assert [type(result) for result in results] == [DeadlineError, DeadlineError]
        while not batcher.unresponsive:
            await asyncio.sleep(0.01)
        free.set()
        while batcher.unresponsive:
            await asyncio.sleep(0.001)
        assert labels(await batcher.predict(rows(2))) == [2]

    asyncio.run(run())
    assert runtime.asked == [[0], [2]]


HANGS = """
import asyncio, threading
from tests.serving.test_batcher import MODEL, Batcher, BatchLimits, Recorder, Slow

def never_comes_back(numbers):
    if 13 in numbers:
        threading.Event().wait()

async def main():
    batcher = Batcher(Slow(MODEL, Recorder(never_comes_back)), BatchLimits(seconds=0.05, give_up_seconds=1.0))
    await batcher.predict([(1,)])
    await batcher.predict([(13,)])

asyncio.run(main())
"""


def test_a_model_that_never_comes_back_ends_its_process_which_says_where_it_hung() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "never_comes_back" in done.stderr


def test_a_quick_model_that_fell_behind_refuses_what_is_too_late() -> None:
    async def run() -> None:
        batcher = Batcher(Quick(MODEL, Recorder(lambda _: _busy(0.02))), BatchLimits(seconds=0.01, turn_rows=1))
        results = await asyncio.gather(*(batcher.predict(rows(n)) for n in range(2)), return_exceptions=True)
        assert labels(results[0]) == [0]
        assert isinstance(results[1], DeadlineError)

    asyncio.run(run())


def _busy(seconds: float) -> None:
    threading.Event().wait(seconds)


async def _schedule_retry(batcher: Batcher, number: int) -> Predictions:
    while batcher.waiting_requests == 0:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    return await batcher.predict(rows(number))
