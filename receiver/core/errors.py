"""Errors that answer "what next?". Anything else that is raised is a bug.

Adapters raise these in place of their vendors' errors; entry points turn them into HTTP statuses, exit codes and
outcomes, each once.
"""


class PinrailError(Exception):
    """Base of the errors that Pinrail raises on purpose; its text is written for the person who reads it.

    ``hint`` is only for whoever runs a command, such as names from the registry, and must not appear on GitHub.
    """

    hint: str = ""


class Retryable(PinrailError):  # noqa: N818 - the name says what to do next
    """The outside world is not ready: try the same again after ``after`` seconds (``None``: usual backoff)."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Rejected(PinrailError):  # noqa: N818 - the name says what to do next
    """What was asked for is wrong, and trying again will not help: ``reason`` says what to change."""


class VersionFailed(Rejected):
    """The version itself failed: it ended, or it answered wrongly. Only this puts a version into quarantine."""


class Interrupted(PinrailError):  # noqa: N818 - it is no error
    """What was under way gives way to something newer or more urgent, or the receiver stops."""


class ArtifactsChanged(Rejected):
    """The registry holds other bytes under a version than those that were fetched and judged."""


class InvalidPins(Rejected):
    """The environment files at a commit are not valid, so nothing of it is deployed."""

    def __init__(self, reason: str, commit: str) -> None:
        super().__init__(reason)
        self.commit = commit
