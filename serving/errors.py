"""The errors of a model server, from the registry to the response. Their texts are for people."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Detail:
    """One validation error of a request: its place, its text, and its type for programs."""

    loc: tuple[str | int, ...]  # e.g. ("body", 0, "tenure")
    msg: str
    type: str

    def __str__(self) -> str:
        return f"{'.'.join(str(part) for part in self.loc)}: {self.msg}"


class ServingError(Exception):
    """Base of the errors that serving raises on purpose; anything else is a bug."""


class RegistryUnavailableError(ServingError):
    """The registry or its artifact store did not answer, or not correctly. A retry may work."""


class NoRoomError(RegistryUnavailableError):
    """The disk has no room for a version. A retry works once there is some; nothing is kept until then."""


class VersionTooLargeError(ServingError):
    """The version is larger than a version may be; the text names its size, the limit and the setting."""


class ModelMissingError(ServingError):
    """The registry has no such version, or the version has no artifacts. A retry will not help."""


class DigestDiffersError(ServingError):
    """The artifacts do not have the requested digest, or the digest is malformed."""


class UnsupportedModelError(ServingError):
    """The artifacts are not a model that this server can serve; the text says what to change."""


class PredictionError(ServingError):
    """The model failed on a valid request, or gave an answer that cannot be returned."""


class InvalidRequestError(ServingError):
    """The request does not match the model's signature. One detail per mistake, never with the input."""

    def __init__(self, details: Sequence[Detail]) -> None:
        super().__init__("; ".join(str(detail) for detail in details))
        self.details = details


class RequestTooLargeError(ServingError):
    """The request's body is over the limit."""


class RequestTooSlowError(ServingError):
    """The request's body did not arrive in time."""


class UnsupportedMediaTypeError(ServingError):
    """The request's body has a media type that this path does not accept."""


class OverloadedError(ServingError):
    """The queue or the memory budget is full. A retry after ``retry_after`` seconds may work."""

    def __init__(self, reason: str, retry_after: int = 1) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class DeadlineError(ServingError):
    """The answer was not ready in time."""
