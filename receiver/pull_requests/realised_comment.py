"""The comment on a merged promotion that says how good the version's answers were: one, brought up to date."""

import logging
from collections.abc import Mapping
from typing import Any

from receiver.adapters.github.pulls import Pull, Pulls
from receiver.core.messages import RealisedFigures
from receiver.pull_requests.markdown import text
from receiver.pull_requests.promotion import PinChange

log = logging.getLogger(__name__)

MARKER = "realised"


class RealisedCommenter:
    """Delivers ``RealisedFigures`` messages. Delivering one twice leaves one comment."""

    def __init__(self, pulls: Pulls, base: str) -> None:
        self._pulls = pulls
        self._base = base

    def __call__(self, message: Mapping[str, Any]) -> None:
        """Write the comment; nothing where no pull request of Pinrail's promoted the version."""
        figures = RealisedFigures(**{key: value for key, value in message.items() if key != "kind"})
        pull = self._promotion(figures)
        if pull is None:
            log.info("%s v%d came to %s by no promotion of ours", figures.model, figures.version, figures.environment)
            return
        what = f"**{text(figures.model)} v{figures.version}** in **{text(figures.environment)}**"
        lines = "\n".join(f"- {text(line)}" for line in figures.lines)
        self._pulls.comment(pull.number, MARKER, f"By the labels that came so far, {what}:\n\n{lines}\n")

    def _promotion(self, figures: RealisedFigures) -> Pull | None:
        """The last merged pull request that promoted the version."""
        found = []
        for rolling in (False, True):
            change = PinChange(figures.model, figures.version, figures.environment, rolling=rolling)
            title = change.title(0).partition(" (")[0]
            merged = self._pulls.merged(change.branch, self._base)
            # One branch proposes any candidate: there the title says which.
            found += [pull for pull in merged if not rolling or pull.title.startswith(f"{title} (")]
        return max(found, key=lambda pull: pull.number, default=None)
