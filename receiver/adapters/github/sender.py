"""Delivers commit statuses and deployments to GitHub.

Delivering a message twice, or after a crash in the middle of it, shows the same as delivering it once.
"""

from collections.abc import Mapping
from typing import Any

from receiver.adapters.github.dispatcher import Handler
from receiver.adapters.github.statuses import Statuses
from receiver.core.messages import CommitStatus, DeploymentOf, DeploymentUpdate


class GitHubSender:
    """The handlers of messages about statuses and deployments. Rejected or Retryable as GitHub answers."""

    def __init__(self, statuses: Statuses) -> None:
        self._statuses = statuses

    def handlers(self) -> dict[str, Handler]:
        """A handler for each kind."""
        return {str(CommitStatus.kind): self._mark, str(DeploymentUpdate.kind): self._update}

    def _mark(self, message: Mapping[str, Any]) -> None:
        self._statuses.mark(CommitStatus(**_fields(message)))

    def _update(self, message: Mapping[str, Any]) -> None:
        update = DeploymentUpdate(**{**_fields(message), "of": DeploymentOf(**message["of"])})
        deployment = self._statuses.deploying(update.of)
        self._statuses.report(deployment, update.state, update.description, update.url)
        if update.state == "success" or update.ends_others:
            self._statuses.retire_others(deployment, update.of)


def _fields(message: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != "kind"}
