"""A scenario whose messages reach GitHub."""

from dataclasses import replace
from typing import Any

from receiver.adapters.github.dispatcher import Dispatcher
from receiver.adapters.github.sender import GitHubSender
from receiver.adapters.github.statuses import Statuses
from receiver.adapters.sqlite.outbox import SqliteOutbox
from receiver.core.messages import GITHUB
from receiver.core.redact import Redactor
from receiver.pull_requests.revert import Reverter
from receiver.services import Services
from tests.support.promotion_scenario import PromotionScenario

SECRET = "hunter2hunter2"


class GitHubScenario(PromotionScenario):
    """What GitHub shows, in the words of tests."""

    def deliver(self) -> int:
        """Deliver what is due."""
        reverter = Reverter(self.services.registry, self.upstream)
        handlers = {**GitHubSender(Statuses(self.client)).handlers(), "revert": reverter}
        return SqliteOutbox(self.flow.database).deliver_due({GITHUB: Dispatcher(handlers, Redactor([SECRET]))})

    def status(self, commit: str, environment: str) -> tuple[str, str] | None:
        """The state and description that a commit shows for an environment."""
        shown = [s for s in self.github.statuses if (s["sha"], s["context"]) == (commit, f"pinrail/{environment}")]
        return (shown[-1]["state"], shown[-1]["description"]) if shown else None

    def deployments(self, commit: str, environment: str) -> list[str]:
        """The states, oldest first, of the deployments of a commit to an environment."""
        chosen = [
            k for k, d in self.github.deployments.items() if (d["sha"], d["environment"]) == (commit, environment)
        ]
        return [reported["state"] for key in chosen for reported in self.github.deployment_statuses[key]]

    def pulls_open(self) -> list[dict[str, Any]]:
        return [pull for pull in self.github.pulls.values() if pull["state"] == "open"]

    def without_healing(self) -> Services:
        """The same, with ``PINRAIL_HEAL`` off."""
        return replace(self.services, heal=False)
