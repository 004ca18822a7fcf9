"""Commit statuses and deployments on GitHub. Publishing one twice shows it once."""

from collections.abc import Mapping
from typing import Any

from receiver.adapters.github.client import GitHubClient
from receiver.core.messages import CommitStatus, DeploymentOf, DeploymentState

MAX_DESCRIPTION = 140  # characters; GitHub refuses more


class Statuses:
    """What a repository's commits and environments are marked with."""

    def __init__(self, client: GitHubClient) -> None:
        self._client = client

    def mark(self, status: CommitStatus) -> None:
        """Set a commit status; one that says the same already is left alone (a commit takes only 1,000)."""
        wanted = {
            "state": status.state,
            "context": status.context,
            "description": brief(status.description),
            "target_url": status.url,
        }
        combined = self._client.get(
            "/repos/{owner}/{repo}/commits/{commit}/status{?per_page}", commit=status.commit, per_page=100
        )
        if any(_same(existing, wanted) for existing in combined["statuses"]):
            return
        body = {key: value for key, value in wanted.items() if value is not None}
        self._client.post("/repos/{owner}/{repo}/statuses/{commit}", body, commit=status.commit)

    def deploying(self, of: DeploymentOf) -> int:
        """The id of that deployment, created where there is none."""
        path = "/repos/{owner}/{repo}/deployments"
        found = self._client.get(
            path + "{?sha,environment,task}", sha=of.commit, environment=of.environment, task=of.task
        )
        if found:
            existing: int = found[0]["id"]
            return existing
        created = self._client.post(
            path,
            {
                "ref": of.commit,
                "task": of.task,
                "environment": of.environment,
                "description": brief(of.description),
                "production_environment": of.production,
                "auto_merge": False,  # else GitHub merges the base branch into the ref
                "required_contexts": [],  # the merge was the decision
            },
        )
        number: int = created["id"]
        return number

    def report(self, deployment: int, state: DeploymentState, description: str, url: str | None = None) -> None:
        """Set a deployment's state, ``url`` being where the environment answers; the same again is left alone."""
        path = "/repos/{owner}/{repo}/deployments/{deployment}/statuses"
        wanted = {"state": state, "description": brief(description), "environment_url": url}
        latest = self._client.get(path + "{?per_page}", deployment=deployment, per_page=1)
        if latest and _same(latest[0], wanted):
            return
        # auto_inactive would end the deployments of the other models in the same environment
        body = {key: value for key, value in wanted.items() if value is not None} | {"auto_inactive": False}
        self._client.post(path, body, deployment=deployment)

    def retire_others(self, deployment: int, of: DeploymentOf) -> None:
        """Mark the earlier deployments of the same task in the same environment as inactive.

        GitHub lists the newest first. What was there before the one that was live was ended by that one.
        """
        path = "/repos/{owner}/{repo}/deployments{?environment,task,per_page}"
        for other in self._client.get(path, environment=of.environment, task=of.task, per_page=100):
            state = self._state(other["id"]) if other["id"] != deployment else None
            if state in {"success", "in_progress", "queued"}:
                self.report(other["id"], "inactive", f"followed by {of.description}")
            if state == "success":
                break

    def _state(self, deployment: int) -> str | None:
        path = "/repos/{owner}/{repo}/deployments/{deployment}/statuses{?per_page}"
        latest = self._client.get(path, deployment=deployment, per_page=1)
        state: str | None = latest[0]["state"] if latest else None
        return state


def brief(text: str) -> str:
    """At most 140 characters of it, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_DESCRIPTION else line[: MAX_DESCRIPTION - 1] + "…"


def _same(existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all((existing.get(key) or None) == value for key, value in wanted.items())
