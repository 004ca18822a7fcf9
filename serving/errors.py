"""What can go wrong between a registry and an answer. The texts are for the person who reads them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Detail:
    """One mistake in a request: where it is, what it is, and its kind for programs."""

    loc: tuple[str | int, ...]  # e.g. ("body", 0, "tenure")
    msg: str
    type: str

    def __str__(self) -> str:
        return f"{'.'.join(str(part) for part in self.loc)}: {self.msg}"


class ServingError(Exception):
    """Base of the errors that serving raises on purpose; anything else is a bug."""


class RegistryUnavailableError(ServingError):
    """The registry or its artifact store did not answer in time, or not sensibly: the same may work later."""


class ModelMissingError(ServingError):
    """The registry has no such version, or the version has no artifacts: trying again will not help."""


class DigestDiffersError(ServingError):
    """The artifacts are not the ones that were asked for."""


class UnsupportedModelError(ServingError):
    """The artifacts are there, and are no model that this server can answer for; the text says what to change."""


class PredictionError(ServingError):
    """The model was asked properly and has no answer that could be given."""


class InvalidRequestError(ServingError):
    """The request is not what the model's signature allows: one detail per mistake, none with the input in it."""

    def __init__(self, details: Sequence[Detail]) -> None:
        super().__init__("; ".join(str(detail) for detail in details))
        self.details = details


class RequestTooLargeError(ServingError):
    """The request's body is over the limit."""


class RequestTooSlowError(ServingError):
    """The request's body did not arrive in time."""


class UnsupportedMediaTypeError(ServingError):
    """The request's body is in a format that this path does not take."""


class OverloadedError(ServingError):
    """More is waiting than can be answered in time: the same may work after ``retry_after`` seconds."""

    def __init__(self, reason: str, retry_after: int = 1) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class DeadlineError(ServingError):
    """The answer was not ready in time."""
