"""The pull request that reverts a pin after a rollback: opened from the outbox, closed when it is obsolete.

Its body has a seal over commit, title and text. If a person has changed any of them, it is left to that person.
"""

import hashlib
import logging
import re
from collections.abc import Mapping
from typing import Any

from receiver.adapters.github.pulls import Pull
from receiver.core.messages import RevertNeeded
from receiver.core.pins import Desired
from receiver.core.state import Slot
from receiver.ports import Registry
from receiver.pull_requests.comparison import compare
from receiver.pull_requests.open_pull_request import Upstream, open_pull_request, push_change
from receiver.pull_requests.promotion import Outdated, PinChange
from receiver.pull_requests.promotion_body import labels_body, rollback_body

log = logging.getLogger(__name__)

_SEAL = re.compile(r"<!-- pinrail:revert ([^/\s]+)/(\S+) v(\d+) ([0-9a-f]{32}) -->\n")


def outdated(pull: Pull, desired: Desired) -> str | None:
    """Why a revert that was opened here is obsolete; None if it is not, or is not ours."""
    found = _SEAL.match(pull.body)
    if found is None or not is_untouched(pull):
        return None
    environment, model, failed = found[1], found[2], int(found[3])
    pins = next((e.models for e in desired.environments if e.name == environment), {})
    if model not in pins:
        return f"{environment} does not pin {model} any more: there is nothing left to revert."
    now = pins[model].version
    if now == failed:
        return None
    return f"{environment} pins {model} v{now} now, not v{failed}: there is nothing left to revert."


def is_untouched(pull: Pull) -> bool:
    """Whether a pull request is a revert that nobody has pushed to or edited since it was opened here."""
    found = _SEAL.match(pull.body)
    return found is not None and not pull.fork and found[4] == _digest(pull.head, pull.title, unsealed(pull))


def unsealed(pull: Pull) -> str:
    """Its text without the seal: reopened by a person, it is that person's."""
    return _SEAL.sub("", pull.body, count=1)


def _sealed(revert: RevertNeeded, commit: str, title: str, body: str) -> str:
    seal = _digest(commit, title, body)
    return f"<!-- pinrail:revert {revert.environment}/{revert.model} v{revert.failed} {seal} -->\n{body}"


def _digest(commit: str, title: str, body: str) -> str:
    words = " ".join([commit, title, *body.split()])  # GitHub may change white space
    return hashlib.sha256(words.encode()).hexdigest()[:32]


class Reverter:
    """Delivers ``RevertNeeded`` messages. Delivering one twice opens one pull request."""

    def __init__(self, registry: Registry, upstream: Upstream) -> None:
        self._registry = registry
        self._upstream = upstream

    def __call__(self, message: Mapping[str, Any]) -> None:
        """Open the pull request, unless the pin has changed. Rejected, Retryable: as GitHub answers."""
        revert = RevertNeeded(**{key: value for key, value in message.items() if key != "kind"})
        change = PinChange(revert.model, revert.back_to, revert.environment, back=True, instead_of=revert.failed)
        try:
            promotion = push_change(self._upstream, change)
        except Outdated as error:
            log.info("nothing to revert: %s", error)
            return
        if self._upstream.pulls is None:
            return
        slot = Slot(revert.environment, revert.model)
        comparison = self._upstream.redact.within(compare(self._registry, slot, revert.failed, revert.back_to))
        text = labels_body if revert.by_labels else rollback_body
        body = _sealed(revert, promotion.commit, promotion.title, text(comparison, revert.reason))
        open_pull_request(self._upstream.pulls, promotion, self._upstream.base, body, is_untouched)
