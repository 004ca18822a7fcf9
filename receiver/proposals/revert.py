"""The pull request that takes back a pin whose version did not hold, opened from the outbox."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from receiver.core.promotion_body import rollback_body
from receiver.core.state import Slot
from receiver.ports import Registry
from receiver.proposals.comparison import compare
from receiver.proposals.promotion import Change, Outdated, promote
from receiver.proposals.proposal import Forge, propose

log = logging.getLogger(__name__)

KIND = "revert"


@dataclass(frozen=True, slots=True)
class Revert:
    """What failed, why, and what served before it and serves again."""

    environment: str
    model: str
    failed: int
    back_to: int
    reason: str  # with the model server's last words


def revert_message(revert: Revert) -> dict[str, Any]:
    """The message that opens the pull request."""
    return {"kind": KIND, **asdict(revert)}


class Reverter:
    """Delivers the messages of KIND. Delivering one twice shows one pull request."""

    def __init__(self, registry: Registry, forge: Forge) -> None:
        self._registry = registry
        self._forge = forge

    def __call__(self, message: Mapping[str, Any]) -> None:
        """Open the pull request, unless something else is pinned by now. Rejected or Retryable as GitHub says."""
        revert = Revert(**{key: value for key, value in message.items() if key != "kind"})
        change = Change(revert.model, revert.back_to, revert.environment, back=True, instead_of=revert.failed)
        try:
            promotion = promote(self._forge.remote, self._forge.base, change)
        except Outdated as error:
            log.info("nothing to take back: %s", error)
            return
        if self._forge.pulls is None:
            return
        slot = Slot(revert.environment, revert.model)
        case = compare(self._registry, slot, revert.failed, revert.back_to)
        propose(self._forge.pulls, promotion, self._forge.base, rollback_body(case, revert.reason))
