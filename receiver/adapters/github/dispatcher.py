"""Delivers the outbox's messages for GitHub: each kind by its handler, and none with a secret in it."""

from collections.abc import Callable, Mapping
from typing import Any

from receiver.adapters.github.client import Moved, Unauthorised
from receiver.core.errors import Rejected, Retryable
from receiver.core.redact import Redactor

TOKEN_SECONDS = 300.0  # how often GitHub is tried again where the settings are wrong: a token may be renewed

Handler = Callable[[Mapping[str, Any]], None]


class Dispatcher:
    """The sender of the channel ``github``. ``handlers``: by the kind of a message; each is safe to repeat."""

    def __init__(self, handlers: Mapping[str, Handler], redact: Redactor) -> None:
        self._handlers = handlers
        self._redact = redact

    def __call__(self, message: Mapping[str, Any]) -> None:
        """Deliver one message. Rejected: GitHub will never accept it. Retryable: not now."""
        kind = str(message.get("kind"))
        if kind not in self._handlers:
            raise Rejected(f"found a message of kind {kind!r}, allowed {', '.join(sorted(self._handlers))}")
        try:
            self._handlers[kind](self._redact.within(message))
        except (Unauthorised, Moved) as error:  # about the settings, not about the message
            raise Retryable(str(error), TOKEN_SECONDS) from error
