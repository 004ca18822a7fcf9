from collections.abc import Iterator

import pytest

from receiver.adapters.git.command import parse_remote
from receiver.adapters.github.client import GitHubClient
from receiver.adapters.github.pulls import Pulls
from receiver.core.pins import read_pins
from receiver.pull_requests.open_pull_request import open_pull_request
from receiver.pull_requests.promotion import Author, PinChange, Promotion, push_promotion_branch
from tests.support.git_repos import FILES, Origin
from tests.support.github_server import TOKEN, FakeGitHub, serving
from tests.support.github_spec import require_description

require_description()

SIX = PinChange("churn-model", 6, "production")


@pytest.fixture
def github(origin: Origin) -> FakeGitHub:
    return FakeGitHub(origin=origin)


@pytest.fixture
def pulls(github: FakeGitHub) -> Iterator[Pulls]:
    with serving(github) as url:
        yield Pulls(GitHubClient(github.repository, TOKEN, url))


def pushed(origin: Origin, change: PinChange) -> Promotion:
    return push_promotion_branch(parse_remote(origin.url), "main", change, Author("Ada", "ada@example.invalid"))


def test_a_promotion_becomes_one_pull_request_however_often_it_is_asked_for(
    origin: Origin, github: FakeGitHub, pulls: Pulls
) -> None:
    first = open_pull_request(pulls, pushed(origin, SIX), "main", "body")
    second = open_pull_request(pulls, pushed(origin, SIX), "main", "body")
    assert first == second
    assert first.title == "Promote churn-model v6 to production (was v1)"
    assert first.head == origin.head("promote/churn-model-v6-to-production")
    assert len(github.writes()) == 1


def test_an_older_promotion_of_the_same_pin_is_closed_with_a_comment(
    origin: Origin, github: FakeGitHub, pulls: Pulls
) -> None:
    older = open_pull_request(pulls, pushed(origin, PinChange("churn-model", 5, "production")), "main", "body")
    other = open_pull_request(pulls, pushed(origin, PinChange("churn-model", 5, "staging")), "main", "body")
    newer = open_pull_request(pulls, pushed(origin, SIX), "main", "body")
    assert [pull.number for pull in pulls.opened("main")] == [other.number, newer.number]
    (comment,) = github.comments.values()
    assert comment["on"] == older.number
    assert comment["shown"]["body"].endswith(f"\nSuperseded by #{newer.number}.")


def test_a_forks_pull_request_with_a_clashing_branch_is_left_alone(
    origin: Origin, github: FakeGitHub, pulls: Pulls
) -> None:
    pushed(origin, PinChange("churn-model", 5, "production"))
    strangers = github.open_pull("promote/churn-model-v5-to-production")
    github.pulls[strangers]["fork"] = "stranger/pins"
    open_pull_request(pulls, pushed(origin, SIX), "main", "body")
    assert github.pulls[strangers]["state"] == "open"


def test_merging_the_pull_request_is_what_pins_the_version(origin: Origin, pulls: Pulls) -> None:
    pull = open_pull_request(pulls, pushed(origin, SIX), "main", "body")
    pulls.merge(pull, pull.title)
    files = {path: origin.text("main", path).encode() for path in FILES}
    assert read_pins(files).pin("production", "churn-model").version == 6
