"""Messages to people and GitHub, as data: the journal stores them together with the entry they are about. Pure.

A message says what happened, never how it is delivered. Each kind for GitHub has one handler
(``build_senders`` in ``github_wiring.py``); notifications go to Apprise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

GITHUB = "github"  # the channels of the outbox
NOTIFY = "notify"

StatusState = Literal["error", "failure", "pending", "success"]
DeploymentState = Literal["queued", "in_progress", "success", "failure", "error", "inactive"]


@dataclass(frozen=True, slots=True)
class Announcement:
    """A notification for people."""

    channel: ClassVar[str] = NOTIFY
    kind: ClassVar[str | None] = None

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """The status of a commit."""

    channel: ClassVar[str] = GITHUB
    kind: ClassVar[str | None] = "status"

    commit: str
    context: str  # names the status, e.g. "pinrail/plan"; a later one replaces an earlier one
    state: StatusState
    description: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class DeploymentOf:
    """One model that is deployed to one environment from one commit."""

    commit: str
    environment: str
    task: str  # tells several models in one environment apart, e.g. "deploy:churn-model"
    description: str
    production: bool


@dataclass(frozen=True, slots=True)
class DeploymentUpdate:
    """A deployment has reached a state. ``url`` is where the model answers."""

    channel: ClassVar[str] = GITHUB
    kind: ClassVar[str | None] = "deployment"

    of: DeploymentOf
    state: DeploymentState
    description: str
    url: str | None = None
    ends_others: bool = False  # nothing that was deployed there before is served any more; a success says so too


@dataclass(frozen=True, slots=True)
class RevertNeeded:
    """A pinned version failed, and the pin has to be reverted.

    An earlier one serves again, unless it failed ``by_labels``: then it serves until the revert is merged.
    """

    channel: ClassVar[str] = GITHUB
    kind: ClassVar[str | None] = "revert"

    environment: str
    model: str
    failed: int
    back_to: int
    reason: str  # with the last log lines of the model server
    by_labels: bool = False


@dataclass(frozen=True, slots=True)
class RealisedFigures:
    """How good a version's answers were in an environment, by the labels that came so far."""

    channel: ClassVar[str] = GITHUB
    kind: ClassVar[str | None] = "realised"

    environment: str
    model: str
    version: int
    lines: Sequence[str]


Message = Announcement | CommitStatus | DeploymentUpdate | RealisedFigures | RevertNeeded


def subject_of(body: Mapping[str, Any]) -> str:
    """What a stored message is about. Those about the same thing go out in order; no other waits for them.

    A deployment that went live ends the earlier ones of its slot, whatever their commit; so those are one subject.
    """
    match body:
        case {"kind": CommitStatus.kind, "commit": commit, "context": context}:
            return f"{context} of {commit}"
        case {"kind": DeploymentUpdate.kind, "of": {"environment": environment, "task": task}}:
            return f"{task} to {environment}"
        case {"kind": RealisedFigures.kind, "environment": environment, "model": model, "version": version}:
            return f"figures of {environment}/{model} v{version}"
        case {"kind": RevertNeeded.kind, "environment": environment, "model": model}:
            return f"revert of {environment}/{model}"
        case _:
            return ""
