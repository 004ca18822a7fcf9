"""GitHub's pull_request deliveries, from its own examples: a reason to ask what is open, and no more."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from receiver.core.delivery import DeliveryKind
from receiver.intake.github import Watched, parse
from tests.support.github_spec import require_description, webhook_example
from tests.support.intake import running_intake

require_description()


def payload(action: str = "opened", **changes: Any) -> dict[str, Any]:
    example = copy.deepcopy(webhook_example("pull_request", "opened"))
    return {**example, "action": action, **changes}


def watched() -> Watched:
    example = payload()
    return Watched(example["repository"]["full_name"].upper(), example["pull_request"]["base"]["ref"])


def judged(body: dict[str, Any], where: Watched | None = None) -> DeliveryKind:
    return parse("pull_request", json.dumps(body).encode(), where or watched()).kind


@pytest.mark.parametrize("action", ["opened", "synchronize", "reopened"])
def test_new_commits_ask_for_a_plan(action: str) -> None:
    assert judged(payload(action)) is DeliveryKind.ACCEPTED


def test_another_base_asks_for_a_plan_and_another_title_does_not() -> None:
    assert judged(payload("edited", changes={"base": {"ref": {"from": "old"}}})) is DeliveryKind.ACCEPTED
    assert judged(payload("edited", changes={"title": {"from": "old"}})) is DeliveryKind.IGNORED


@pytest.mark.parametrize("action", ["closed", "labeled", "assigned", "\u202e::error::"])
def test_what_changes_no_commit_asks_for_nothing(action: str) -> None:
    assert judged(payload(action)) is DeliveryKind.IGNORED


def test_pull_requests_elsewhere_ask_for_nothing() -> None:
    here = watched()
    assert judged(payload(), Watched("somebody/else", here.branch)) is DeliveryKind.IGNORED
    assert judged(payload(), Watched(here.repository, "another")) is DeliveryKind.IGNORED


@pytest.mark.parametrize(
    "changes",
    [
        {"repository": None},
        {"pull_request": []},
        {"pull_request": {"base": None}},
        {"pull_request": {"base": {"ref": 5}}},
        {"number": "1"},
        {"action": None},
        {"action": "edited", "changes": None},
    ],
)
def test_what_github_would_not_send_is_malformed(changes: dict[str, Any]) -> None:
    assert judged({**payload(), **changes}) is DeliveryKind.MALFORMED


def test_githubs_own_examples_of_other_events_are_understood() -> None:
    push, ping = webhook_example("push"), webhook_example("ping")
    there = Watched(push["repository"]["full_name"], "simple-tag")
    verdict = parse("push", json.dumps(push).encode(), there)
    assert verdict.kind in {DeliveryKind.ACCEPTED, DeliveryKind.IGNORED}
    assert parse("ping", json.dumps(ping).encode(), there).kind is DeliveryKind.IGNORED


def test_an_accepted_one_is_stored_with_a_job_that_says_why(tmp_path: Path) -> None:
    body = payload(repository={"full_name": "owner/models"}, pull_request={"base": {"ref": "main"}})
    with running_intake(tmp_path) as intake:
        assert intake.deliver(json.dumps(body).encode(), "pull_request").status == 202
        job = intake.queue.claim()
        assert job is not None
        assert job.causes == ("pull_request",)
