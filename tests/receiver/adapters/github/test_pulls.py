from typing import Any

import pytest

from receiver.adapters.github.client import GitHubClient, NotFound
from receiver.adapters.github.pulls import MAX_BODY, Pull, PullRequestSpec, Pulls
from receiver.core.errors import Rejected, Retryable
from tests.support.github_server import FakeGitHub, Fault
from tests.support.github_spec import require_description, webhook_example

require_description()

MEMBER = {"id": 9, "type": "User"}

SPEC = PullRequestSpec("promote/m-v6-to-production", "main", "Promote m v6 to production (was v4)", "| a | b |\n")


@pytest.fixture
def pulls(client: GitHubClient) -> Pulls:
    return Pulls(client)


def test_a_pull_request_is_opened_once_and_found_again(github: FakeGitHub, pulls: Pulls) -> None:
    first = pulls.open_or_update(SPEC)
    assert pulls.open_or_update(SPEC) == first
    assert (first.title, first.branch, first.base, first.fork) == (SPEC.title, SPEC.branch, "main", False)
    assert len(github.pulls) == len(github.writes()) == 1


def test_a_pull_request_with_another_text_is_updated_in_place(github: FakeGitHub, pulls: Pulls) -> None:
    number = github.open_pull(SPEC.branch, title="Old")
    updated = pulls.open_or_update(SPEC)
    assert (updated.number, updated.title, updated.body) == (number, SPEC.title, SPEC.body)


def test_a_closed_pull_request_is_not_opened_again_but_a_new_one_made(github: FakeGitHub, pulls: Pulls) -> None:
    number = github.open_pull(SPEC.branch)
    github.pulls[number]["state"] = "closed"
    assert pulls.open_or_update(SPEC).number != number


def test_a_pull_request_whose_creation_was_answered_into_the_void_is_found(github: FakeGitHub, pulls: Pulls) -> None:
    github.faults += [Fault(200, body=b"[]"), Fault(lost=True)]
    with pytest.raises(Retryable):
        pulls.open_or_update(SPEC)
    pulls.open_or_update(SPEC)
    assert len(github.pulls) == 1


def test_a_pull_request_that_somebody_opens_in_the_same_moment_is_taken(github: FakeGitHub, pulls: Pulls) -> None:
    number = github.open_pull(SPEC.branch)
    github.faults.append(Fault(200, body=b"[]"))  # not there yet when we looked
    assert pulls.open_or_update(SPEC).number == number


def test_a_refused_pull_request_says_why(github: FakeGitHub, pulls: Pulls) -> None:
    github.faults += [
        Fault(200, body=b"[]"),
        Fault(422, body=b'{"message": "Validation Failed", "errors": [{"message": "No commits between"}]}'),
    ]
    with pytest.raises(Rejected, match="No commits between"):
        pulls.open_or_update(SPEC)


def test_a_fork_in_the_same_organisation_is_not_taken_for_ours(github: FakeGitHub, pulls: Pulls) -> None:
    theirs = github.open_pull(SPEC.branch, title="Theirs")
    github.pulls[theirs]["fork"] = "octo/fork-of-pins"
    assert pulls.open_or_update(SPEC).number != theirs
    assert github.pulls[theirs]["title"] == "Theirs"
    github.pulls[theirs]["state"] = "closed"
    assert pulls.declined(SPEC.branch, "main") == []


def test_open_ones_are_listed_by_base(github: FakeGitHub, pulls: Pulls) -> None:
    ours = github.open_pull("promote/a")
    github.open_pull("promote/b", base="other")
    closed = github.open_pull("promote/c")
    github.pulls[closed]["state"] = "closed"
    assert [pull.number for pull in pulls.opened("main")] == [ours]


def test_closing_says_why_once(github: FakeGitHub, pulls: Pulls) -> None:
    number = github.open_pull("promote/a")
    pulls.close(number, "Superseded by #2.")
    pulls.close(number, "Superseded by #2.")
    assert github.pulls[number]["state"] == "closed"
    (comment,) = github.comments.values()
    assert comment["shown"]["body"] == "<!-- pinrail:closed -->\nSuperseded by #2."


def test_closing_says_why_once_also_where_an_answer_was_lost(github: FakeGitHub, pulls: Pulls) -> None:
    number = github.open_pull("promote/a", body="Old.")
    for lost in range(4):
        github.pulls[number]["state"] = "open"
        github.comments.clear()
        github.faults = [*([None] * lost), Fault(lost=True)]
        with pytest.raises(Retryable):
            pulls.close(number, "Superseded by #2.", "New.")
        pulls.close(number, "Superseded by #2.", "New.")
        assert (github.pulls[number]["state"], github.pulls[number]["body"]) == ("closed", "New.")
        assert len(github.comments) == 1


def test_exactly_the_commit_that_was_planned_is_merged(github: FakeGitHub, pulls: Pulls) -> None:
    number = github.open_pull("promote/a")
    pull = pulls.get(number)
    moved = Pull(**{**{name: getattr(pull, name) for name in Pull.__slots__}, "head": "0" * 40})
    with pytest.raises(Rejected, match="Head branch was modified"):
        pulls.merge(moved, "Merge")
    pulls.merge(pull, "Merge")
    pulls.merge(pull, "Merge")
    assert pulls.get(number).merged
    assert github.writes().count("PUT /repos/{owner}/{repo}/pulls/{pull_number}/merge") == 2


def test_one_that_is_not_there_is_not_found(pulls: Pulls) -> None:
    with pytest.raises(NotFound):
        pulls.get(12345)


def test_changed_paths_include_the_old_names_of_renamed_files(github: FakeGitHub, pulls: Pulls) -> None:
    number = github.open_pull("x")
    github.files[number] = [
        {"filename": "README.md"},
        {"filename": "old/staging.yaml", "previous_filename": "environments/staging.yaml", "status": "renamed"},
    ]
    assert pulls.changed_paths(number) == ["README.md", "old/staging.yaml", "environments/staging.yaml"]


def test_there_is_one_comment_however_often_it_is_published(github: FakeGitHub, pulls: Pulls) -> None:
    number = github.open_pull("x")
    first = pulls.comment(number, "plan", "v4 -> v6")
    assert pulls.comment(number, "plan", "v4 -> v6") == first
    assert len(github.writes()) == 1
    assert pulls.comment(number, "plan", "v5 -> v6") == first
    assert [c["shown"]["body"] for c in github.comments.values()] == ["<!-- pinrail:plan -->\nv5 -> v6"]


@pytest.mark.parametrize("user", [{"id": 7, "type": "User"}, None])
def test_a_members_comment_with_our_marker_is_not_taken_for_ours(
    github: FakeGitHub, pulls: Pulls, user: dict[str, Any] | None
) -> None:
    github.user = user
    number = github.open_pull("x")
    github.add_comment(number, "<!-- pinrail:plan -->\nall is well", MEMBER)
    pulls.comment(number, "plan", "refused")
    bodies = [c["shown"]["body"] for c in github.comments.values()]
    assert bodies == ["<!-- pinrail:plan -->\nall is well", "<!-- pinrail:plan -->\nrefused"]
    pulls.comment(number, "plan", "refused again")
    assert [c["shown"]["body"] for c in github.comments.values()][1:] == ["<!-- pinrail:plan -->\nrefused again"]
    assert github.calls.count("GET /user") == 1


def test_other_comments_and_markers_are_left_alone(github: FakeGitHub, pulls: Pulls) -> None:
    number = github.open_pull("x")
    github.add_comment(number, "see <!-- pinrail:plan -->", MEMBER)
    pulls.comment(number, "other", "x")
    pulls.comment(number, "plan", "y")
    assert len(github.comments) == 3


def test_a_text_that_is_too_long_is_shortened_and_says_so(github: FakeGitHub, pulls: Pulls) -> None:
    number = github.open_pull("x")
    pulls.comment(number, "plan", "x" * 100_000)
    (comment,) = github.comments.values()
    assert len(comment["shown"]["body"]) == MAX_BODY
    assert comment["shown"]["body"].endswith("(shortened)")


def test_githubs_own_webhook_payloads_can_be_read() -> None:
    payload = webhook_example("pull_request", "opened")
    pull = Pull.read(payload["pull_request"])
    assert (pull.number, pull.state, pull.merged) == (payload["number"], "open", False)
    assert len(pull.head) == 40
    gone = {**payload["pull_request"], "head": {**payload["pull_request"]["head"], "repo": None}}
    assert Pull.read(gone).fork
