"""What is published for an environment, row by row of the table in ``next_status``."""

from dataclasses import replace

import pytest

from receiver.core.commit_status import PublishedStatus
from receiver.core.messages import CommitStatus, StatusState
from receiver.notifications.heads import NextStatus, next_status

OLD, HEAD = "a" * 40, "b" * 40
PINS, OTHER_PINS = "digest of the pins", "digest of other pins"
WAITS = "digest of what they wait for"

Found = tuple[StatusState, str]
LIVE: Found = ("success", "churn v2 is live")
WAITING: Found = ("pending", "churn v2 waits: soak")
FAILED: Found = ("failure", "churn v2 was rolled back: 500")


def status(commit: str, state: StatusState, description: str) -> CommitStatus:
    return CommitStatus(commit, "pinrail/staging", state, description)


def published(revision: str, pins: str = PINS, pending: str = "") -> PublishedStatus:
    return PublishedStatus(revision, pins, pending)


def decided(before: PublishedStatus | None, found: Found, *, covered: bool = False) -> NextStatus | None:
    return next_status("staging", before, published(HEAD), found, covered=covered)


@pytest.mark.parametrize("found", [LIVE, FAILED])
@pytest.mark.parametrize("before", [None, published(OLD, OTHER_PINS)], ids=["never published", "pins changed"])
def test_pins_that_are_new_get_the_heads_final_status(before: PublishedStatus | None, found: Found) -> None:
    assert decided(before, found) == NextStatus(published(HEAD), status(HEAD, *found), None)


@pytest.mark.parametrize("before", [None, published(OLD, OTHER_PINS)], ids=["never published", "pins changed"])
def test_pins_that_are_new_and_wait_are_remembered_as_waiting(before: PublishedStatus | None) -> None:
    following = decided(before, WAITING)
    assert following is not None
    assert following.published.pending
    assert following == NextStatus(published(HEAD, pending=following.published.pending), status(HEAD, *WAITING), None)


def test_pins_that_changed_end_what_an_earlier_commit_waits_for() -> None:
    following = decided(published(OLD, OTHER_PINS, WAITS), LIVE)
    assert following is not None
    assert following.status == status(HEAD, *LIVE)
    assert following.supersedes is not None
    assert (following.supersedes.commit, following.supersedes.state) == (OLD, "error")


@pytest.mark.parametrize("found", [LIVE, FAILED])
@pytest.mark.parametrize("covered", [False, True])
def test_what_an_earlier_commit_waited_for_is_published_there_when_it_is_final(
    found: Found, *, covered: bool
) -> None:
    before = published(OLD, pending=WAITS)
    state, description = found
    final = status(OLD, state, f"{description} (at {HEAD[:7]})")
    assert decided(before, found, covered=covered) == NextStatus(replace(before, pending=""), final, None)


def test_while_an_earlier_commit_waits_still_nothing_is_published() -> None:
    assert decided(published(OLD, pending=WAITS), WAITING) is None


@pytest.mark.parametrize("found", [LIVE, FAILED])
def test_at_the_commit_that_waited_the_final_status_is_published_there(found: Found) -> None:
    assert decided(published(HEAD, pending=WAITS), found) == NextStatus(published(HEAD), status(HEAD, *found), None)


def test_at_the_commit_that_waits_another_reason_is_published_and_the_same_one_is_not() -> None:
    first = decided(None, WAITING)
    assert first is not None
    assert decided(first.published, WAITING) is None
    other: Found = ("pending", "churn v2 waits: the registry is down")
    second = decided(first.published, other)
    assert second is not None
    assert second.status == status(HEAD, *other)
    assert second.published != first.published


@pytest.mark.parametrize("found", [LIVE, WAITING, FAILED])
@pytest.mark.parametrize("revision", [OLD, HEAD])
@pytest.mark.parametrize("covered", [False, True])
def test_pins_whose_final_status_is_published_get_no_other(revision: str, found: Found, *, covered: bool) -> None:
    assert decided(published(revision), found, covered=covered) is None


@pytest.mark.parametrize("found", [LIVE, WAITING, FAILED])
def test_what_the_deployments_have_published_is_recorded_and_not_published_again(found: Found) -> None:
    assert decided(None, found, covered=True) == NextStatus(published(HEAD), None, None)
    assert decided(published(HEAD, pending=WAITS), found, covered=True) == NextStatus(published(HEAD), None, None)


def test_an_earlier_commits_wait_ends_though_the_deployments_have_published_the_heads_status() -> None:
    following = decided(published(OLD, OTHER_PINS, WAITS), LIVE, covered=True)
    assert following is not None
    assert following.status is None
    assert following.supersedes is not None
    assert following.supersedes.commit == OLD
