"""What GitHub is told about deployments, as messages for the outbox, and their delivery.

Delivering a message twice, or after a crash in the middle of it, shows the same as delivering it once.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from receiver.adapters.github.statuses import CommitStatus, DeploymentOf, DeploymentState, Statuses
from receiver.core.errors import Rejected

CHANNEL = "github"


@dataclass(frozen=True, slots=True)
class DeploymentUpdate:
    """A deployment has reached a state. ``description`` says so to people; ``url`` is where the model answers."""

    of: DeploymentOf
    state: DeploymentState
    description: str
    url: str | None = None
    ends_others: bool = False  # nothing that was deployed there before is served any more; a success says so too


def status_message(status: CommitStatus) -> dict[str, Any]:
    """The message that sets a commit status."""
    return {"kind": "status", **asdict(status)}


def deployment_message(update: DeploymentUpdate) -> dict[str, Any]:
    """The message that moves a deployment on."""
    return {"kind": "deployment", **asdict(update)}


class GitHubSender:
    """Delivers the messages of CHANNEL. Rejected: GitHub will never take it; Retryable: not now."""

    def __init__(self, statuses: Statuses) -> None:
        self._statuses = statuses

    def __call__(self, message: Mapping[str, Any]) -> None:
        """Deliver one message."""
        kind, fields = message.get("kind"), {key: value for key, value in message.items() if key != "kind"}
        if kind == "status":
            self._statuses.mark(CommitStatus(**fields))
        elif kind == "deployment":
            self._deployment(DeploymentUpdate(**{**fields, "of": DeploymentOf(**fields["of"])}))
        else:
            raise Rejected(f"a message of the kind {kind!r} is nothing for GitHub")

    def _deployment(self, update: DeploymentUpdate) -> None:
        deployment = self._statuses.deploying(update.of)
        self._statuses.report(deployment, update.state, update.description, update.url)
        if update.state == "success" or update.ends_others:
            self._statuses.retire_others(deployment, update.of)
