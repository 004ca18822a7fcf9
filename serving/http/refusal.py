"""Which HTTP status says what went wrong: the one place where serving's errors meet HTTP."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

from serving.errors import (
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    PredictionError,
    RequestTooLargeError,
    RequestTooSlowError,
    UnsupportedMediaTypeError,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none."""

    status: int
    detail: Any  # for FastAPI's shape of an error: a text, or a list of mistakes
    text: str  # the same in one line
    retry_after: int | None = None  # seconds

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What goes into the answer's head besides its length."""
        retry = () if self.retry_after is None else ((b"retry-after", b"%d" % self.retry_after),)
        return ((b"content-type", b"application/json"), *retry)


def refusal(error: Exception) -> Refusal:  # noqa: PLR0911 - a table
    """How to answer a request that ended with this error; a bug is logged and not shown."""
    text = str(error)
    match error:
        case InvalidRequestError():
            return Refusal(422, [asdict(detail) for detail in error.details], text)
        case RequestTooLargeError():
            return Refusal(413, text, text)
        case RequestTooSlowError():
            return Refusal(408, text, text)
        case UnsupportedMediaTypeError():
            return Refusal(415, text, text)
        case OverloadedError():
            return Refusal(503, text, text, error.retry_after)
        case DeadlineError():
            return Refusal(504, text, text)
        case PredictionError():
            log.error("%s", text, exc_info=error.__cause__)
            return Refusal(500, text, text)
    log.error("a bug", exc_info=error)
    return Refusal(500, "the server failed; its log says why", "the server failed; its log says why")
