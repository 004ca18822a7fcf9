"""The result of a check, and running many at once: each within a deadline and apart from the others."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

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


def answer(questions: Sequence[Question], seconds: float) -> list[Check]:
    """Run all at once and wait up to ``seconds`` for each; the results are in the order of the questions."""
    asked = [(question, begin(question.ask, f"doctor {question.name}")) for question in questions]
    return [_finish(question, future, seconds) for question, future in asked]


def _finish(question: Question, future: "Future[Check]", seconds: float) -> Check:
    try:
        return future.result(seconds)
    except PinrailError as error:
        return Check(question.name, ok=False, found=str(error), todo=question.todo)
    except Exception as error:  # noqa: BLE001 - a check that fails must not end the report
        said = f"{type(error).__name__}: {error}" if future.done() else f"no answer within {seconds:g} s"
        return Check(question.name, ok=False, found=said, todo=question.todo)
