"""The result of a check, and running many at once: each within a deadline and apart from the others."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from receiver.cli.progress import progress
from receiver.core.errors import PinrailError
from serving.model.deadline import begin


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    name: str
    ok: bool
    found: str
    todo: str = ""  # what to do; if ok, what could be improved


@dataclass(frozen=True, slots=True)
class Question:
    """A check to run."""

    name: str
    ask: Callable[[], Check]
    todo: str  # what to do if the check itself fails


def answer(questions: Sequence[Question], seconds: float) -> Iterator[Check]:
    """Run all at once, for up to ``seconds`` together; each result comes as soon as those before it are there."""
    asked = [(question, begin(question.ask, f"doctor {question.name}")) for question in questions]
    return _results(asked, time.monotonic() + seconds, seconds)


def _results(asked: "Sequence[tuple[Question, Future[Check]]]", deadline: float, seconds: float) -> Iterator[Check]:
    for question, future in asked:
        with progress(f"{question.name} ..."):
            check = _finish(question, future, deadline, seconds)
        yield check


def _finish(question: Question, future: "Future[Check]", deadline: float, seconds: float) -> Check:
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except PinrailError as error:
        return Check(question.name, ok=False, found=str(error), todo=question.todo)
    except Exception as error:  # noqa: BLE001 - a check that fails must not end the report
        said = f"{type(error).__name__}: {error}" if future.done() else f"no answer within {seconds:g} s"
        return Check(question.name, ok=False, found=said, todo=question.todo)
