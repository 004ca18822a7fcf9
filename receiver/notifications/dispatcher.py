"""Carries the outbox's messages to GitHub: each kind to whom it belongs, and none with a secret in it."""

from collections.abc import Mapping
from typing import Any

from receiver.adapters.github.client import Unauthorised
from receiver.adapters.github.sender import GitHubSender
from receiver.core.errors import Retryable
from receiver.core.redact import Redactor
from receiver.pull_requests.revert import KIND, Reverter

TOKEN_SECONDS = 300.0  # how often a token that GitHub refuses is tried again: somebody may have renewed it


class Dispatcher:
    """The sender of the channel ``github``. Rejected: GitHub will never take it; Retryable: not now."""

    def __init__(self, sender: GitHubSender, reverter: Reverter, redact: Redactor) -> None:
        self._sender = sender
        self._reverter = reverter
        self._redact = redact

    def __call__(self, message: Mapping[str, Any]) -> None:
        """Deliver one message."""
        safe = self._redact.within(message)
        try:
            (self._reverter if safe.get("kind") == KIND else self._sender)(safe)
        except Unauthorised as error:  # about the token, not about the message
            raise Retryable(str(error), TOKEN_SECONDS) from error
