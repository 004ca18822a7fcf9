"""Delivers the outbox's messages for GitHub: each kind by its handler, and none with a secret in it."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from receiver.adapters.github.client import LONGEST_WAIT_SECONDS, Moved, RateLimited, Unauthorised
from receiver.adapters.time_limit import time_limit
from receiver.core.errors import Rejected, Retryable
from receiver.core.messages import RevertNeeded
from receiver.core.redact import Redactor

TOKEN_SECONDS = 300.0  # how often GitHub is tried again where the settings are wrong: a token may be renewed
DELIVERY_SECONDS = 120.0  # all calls of one message together
# A pull request takes git too, where there is no mirror a whole clone, and the registry for its text.
REVERT_SECONDS = 1200.0

Handler = Callable[[Mapping[str, Any]], None]


class Dispatcher:
    """The sender of the channel ``github``. ``handlers``: by the kind of a message; each is safe to repeat.

    Called from several threads. A rate limit, and settings that GitHub refuses, are about all messages: GitHub is not
    asked again before its time, whatever the next message is about.
    """

    def __init__(self, handlers: Mapping[str, Handler], redact: Redactor) -> None:
        self._handlers = handlers
        self._redact = redact
        self._pause = (0.0, "")  # until when, in seconds since the epoch, and why

    def __call__(self, message: Mapping[str, Any]) -> None:
        """Deliver one message. Rejected: GitHub will never accept it. Retryable: not now."""
        kind = str(message.get("kind"))
        if kind not in self._handlers:
            raise Rejected(f"found a message of kind {kind!r}, allowed {', '.join(sorted(self._handlers))}")
        until, why = self._pause
        left = until - time.time()
        if 0 < left <= LONGEST_WAIT_SECONDS:  # more comes of a clock that has jumped
            raise Retryable(f"GitHub is left alone for {left:.0f} s: {why}", left)
        try:
            with time_limit(REVERT_SECONDS if kind == RevertNeeded.kind else DELIVERY_SECONDS):
                self._handlers[kind](self._redact.within(message))
        except (Unauthorised, Moved) as error:  # about the settings, not about the message
            raise self._paused(str(error), TOKEN_SECONDS) from error
        except RateLimited as error:
            raise self._paused(str(error), error.after or TOKEN_SECONDS) from error

    def _paused(self, why: str, seconds: float) -> Retryable:
        self._pause = (time.time() + seconds, why)
        return Retryable(why, seconds)
