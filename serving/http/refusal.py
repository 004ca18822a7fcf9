"""Errors to HTTP statuses: the only place where serving's errors meet HTTP."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

from serving.confinement.hint import hint
from serving.errors import (
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    PredictionError,
    RequestTooLargeError,
    RequestTooSlowError,
    UnsupportedMediaTypeError,
)
from serving.http.quiet import RepeatLimit

log = logging.getLogger(__name__)
log.addFilter(RepeatLimit())  # any client may send what a model fails on


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error response, before a protocol writes it in its own shape."""

    status: int
    detail: Any  # FastAPI's `detail`: a text, or a list of validation errors
    text: str  # the same on one line
    retry_after: int | None = None  # seconds

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The response headers besides Content-Length."""
        retry = () if self.retry_after is None else ((b"retry-after", b"%d" % self.retry_after),)
        return ((b"content-type", b"application/json"), *retry)


def refusal(error: Exception, request: str) -> Refusal:  # noqa: PLR0911 - a table
    """The error response for an exception. What is not the client's doing is logged; a bug is not shown.

    ``request``: which one it was, for the log.
    """
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
            log.error("%s: not answered: %s", request, text)
            return Refusal(503, text, text, error.retry_after)
        case DeadlineError():
            log.error("%s: too late: %s", request, text)
            return Refusal(504, text, text)
        case PredictionError():
            log.error("%s: failed: %s %s", request, text, hint(error), exc_info=error.__cause__)
            return Refusal(500, text, text)
    log.error("%s: unexpected error", request, exc_info=error)
    message = "internal error; the server's log has the details"
    return Refusal(500, message, message)
