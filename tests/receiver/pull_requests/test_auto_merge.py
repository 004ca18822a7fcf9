"""Policy ``auto: merge``: what Pinrail proposes is merged when its plan is green, and nothing else ever is."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ml.environment.file import parse_environment
from ml.evidence import CheckOutcome, Verdict
from receiver.adapters.git.command import parse_remote
from receiver.core.pins import read_pins
from receiver.core.state import Slot
from receiver.pull_requests.promotion import Author, PinChange, push_promotion_branch
from receiver.pull_requests.rollback import hold_newer, plan_rollback
from tests.support.evidence import KEY
from tests.support.flow import MODEL
from tests.support.git_repos import git
from tests.support.github_server import Fault
from tests.support.github_spec import require_description
from tests.support.review import Review, reviewing

require_description()

STAGING_FILE, PRODUCTION_FILE = "environments/staging.yaml", "environments/production.yaml"
TWO = PinChange(MODEL, 2, "staging")
MERGE = "PUT /repos/{owner}/{repo}/pulls/{pull_number}/merge"


def automatic(review: Review, staging: int, production: int) -> dict[str, bytes]:
    files = review.flow.files(staging, production)
    return {**files, STAGING_FILE: files[STAGING_FILE] + b"policy: {auto: merge}\n"}


@pytest.fixture
def review(tmp_path: Path) -> Iterator[Review]:
    with reviewing(tmp_path) as review:
        review.merge(automatic(review, 1, 1))
        yield review


def propose(review: Review, change: PinChange) -> int:
    """A promotion as `pinrail promote` makes it."""
    promotion = push_promotion_branch(
        parse_remote(review.origin.url), "main", change, Author("Ada", "ada@example.invalid")
    )
    number = review.hosted.open_pull(promotion.branch, title="whatever somebody calls it")
    review.hosted.files[number] = [{"filename": f"environments/{change.environment}.yaml"}]
    git(review.origin.path, "update-ref", f"refs/pull/{number}/head", promotion.commit)
    return number


@pytest.mark.parametrize(
    "refused",
    [
        {"merge": "This branch must not contain merge commits."},
        {
            "merge": "Merge commits are not allowed on this repository.",
            "squash": "Squash merges are not allowed on this repository.",
        },
    ],
)
def test_a_repository_that_takes_no_merge_commits_gets_what_it_takes(review: Review, refused: dict[str, str]) -> None:
    review.hosted.refused_methods = refused
    number = propose(review, TWO)
    review.run_plans()
    assert review.hosted.pulls[number]["merged"]
    assert merges(review) == len(refused) + 1


def test_a_review_that_is_missing_is_not_got_round(review: Review) -> None:
    review.hosted.refused_methods = {
        "merge": "At least 1 approving review is required by reviewers with write access."
    }
    number = propose(review, TWO)
    review.run_plans()
    assert not review.hosted.pulls[number]["merged"]
    assert merges(review) == 1


def merges(review: Review) -> int:
    return review.hosted.writes().count(MERGE)


@pytest.mark.parametrize("rolling", [False, True])
def test_a_promotion_is_merged_once_its_plan_is_green(review: Review, *, rolling: bool) -> None:
    number = propose(review, replace(TWO, rolling=rolling))
    review.run_plans()
    assert review.hosted.pulls[number]["merged"]
    assert review.hosted.writes()[-2:] == ["POST /repos/{owner}/{repo}/statuses/{sha}", MERGE]
    files = {path: review.origin.text("main", path).encode() for path in (STAGING_FILE, PRODUCTION_FILE)}
    assert read_pins(files).pin("staging", MODEL).version == 2
    said = git(review.origin.path, "log", "-1", "--format=%s", "main")
    assert said == f"Promote churn-model v2 to staging (was v1) (#{number})"


def test_an_environment_without_the_policy_waits_for_people(review: Review) -> None:
    review.merge(automatic(review, 2, 1))
    number = propose(review, PinChange(MODEL, 2, "production"))
    review.run_plans()
    assert review.status(number)[0] == "success"
    assert merges(review) == 0


def test_what_is_not_green_is_not_merged(review: Review) -> None:
    review.flow.register(4, passing=False)
    number = propose(review, PinChange(MODEL, 4, "staging"))
    review.run_plans()
    assert review.status(number)[0] == "failure"
    assert merges(review) == 0


def test_a_hold_that_a_person_made_is_ended_by_no_automatic_merge_and_the_plan_names_it(review: Review) -> None:
    review.merge(automatic(review, 2, 1))
    services = review.flow.services
    hold_newer(services, plan_rollback(services, Slot("staging", MODEL), None, now=True), "sales complains")
    review.flow.run("rollback")
    number = propose(review, PinChange(MODEL, 3, "staging"))
    review.run_plans()
    assert review.status(number)[0] == "success"
    assert "the merge ends the hold of v2" in review.comment(number)
    assert "sales complains" in review.comment(number)
    assert merges(review) == 0


def test_a_version_that_was_compared_with_another_than_the_live_one_waits_for_people_and_the_plan_names_it(
    review: Review,
) -> None:
    files = {
        path: raw.replace(b"{min: 0.8}", b"{min: 0.8}, champion: {require: hold}")
        for path, raw in automatic(review, 1, 1).items()
    }
    staging = parse_environment(files[STAGING_FILE], STAGING_FILE)
    review.merge(files)
    better = Verdict("champion.accuracy", CheckOutcome.PASS, 0.02, ">=", 0.0)
    for version, champion in ((2, 1), (3, 9)):
        found = review.flow.evidence(version, staging)
        compared = replace(found, verdicts=(*found.verdicts, better), champion=champion)
        review.flow.registry.record(KEY.sign(compared))
    number = propose(review, replace(TWO, version=3))
    review.run_plans()
    assert review.status(number)[0] == "success"
    assert "the gate compared v3 with v9, and v1 is live in staging now" in review.comment(number)
    assert merges(review) == 0
    number = propose(review, TWO)
    review.run_plans()
    assert review.hosted.pulls[number]["merged"]


def test_a_fork_is_never_merged(review: Review) -> None:
    number = propose(review, TWO)
    review.hosted.pulls[number]["fork"] = "stranger/pins"
    review.run_plans()
    assert review.status(number)[0] == "success"
    assert merges(review) == 0


def test_a_pull_request_cannot_allow_itself_to_be_merged(tmp_path: Path) -> None:
    with reviewing(tmp_path) as review:
        review.open({STAGING_FILE: automatic(review, 2, 1)[STAGING_FILE]}, branch=TWO.branch)
        review.run_plans()
        assert merges(review) == 0


@pytest.mark.parametrize(
    "more",
    [
        {"src/code.py": "import os"},
        {PRODUCTION_FILE: None},
        {STAGING_FILE: "gate"},
        {STAGING_FILE: "override"},
    ],
    ids=["another file", "another environment", "the gate", "an override"],
)
def test_a_promotions_branch_with_anything_else_on_it_waits_for_people(
    review: Review, more: dict[str, str | None]
) -> None:
    text = automatic(review, 2, 1)[STAGING_FILE].decode()
    changed = {
        "gate": text.replace("min: 0.8", "min: 0.1"),
        "override": text.replace("8000}", "8000, override: {version: 2, reason: because}}"),
    }
    files: dict[str, str | bytes | None] = {STAGING_FILE: text}
    files |= {path: changed.get(content or "", content) for path, content in more.items()}
    if PRODUCTION_FILE in more:
        files[PRODUCTION_FILE] = review.flow.files(1, 2)[PRODUCTION_FILE]
    review.open(files, branch=TWO.branch)
    review.run_plans()
    assert merges(review) == 0


def test_another_branch_waits_for_people(review: Review) -> None:
    number = review.open({STAGING_FILE: automatic(review, 2, 1)[STAGING_FILE]}, branch="mine")
    review.run_plans()
    assert review.status(number)[0] == "success"
    assert merges(review) == 0


def test_where_github_says_not_yet_it_is_asked_again_at_the_next_look(review: Review) -> None:
    number = propose(review, TWO)
    # the list, the files, the comments and the new one, the statuses and the new one, the pull request
    review.hosted.faults += [None] * 7 + [Fault(405, body=b'{"message": "2 of 2 required reviews are missing"}')]
    review.run_plans()
    assert not review.hosted.pulls[number]["merged"]
    review.run_plans()
    assert review.hosted.pulls[number]["merged"]
