"""Commits are looked up in the mirror on this machine."""

from pathlib import Path

import pytest

from receiver.adapters.git.command import Remote
from receiver.adapters.git.commit_log import CommitLog, CommitNote, pull_request_of
from tests.support.git_repos import Origin


def test_a_commit_is_found_with_its_author_its_subject_and_its_pull_request(tmp_path: Path) -> None:
    origin = Origin(tmp_path)
    first = origin.commit({"a": "1"}, "Promote churn-model to v6 (#12)\n\nMore about it.")
    second = origin.commit({"a": "2"}, 'An "odd" <subject>')
    log = CommitLog(origin.path, Remote(origin.url, "file"))
    found = log([first, "0" * 40, "no commit", "--all"])
    assert found.keys() == {first}
    assert (found[first].subject, found[first].pull_request) == ("Promote churn-model to v6 (#12)", 12)
    assert found[first].author
    assert log([second])[second] == CommitNote(found[first].author, 'An "odd" <subject>', None)


def test_without_a_mirror_nothing_is_known(tmp_path: Path) -> None:
    assert CommitLog(tmp_path / "none.git", Remote("file:///x", "file"))(["1f" * 20]) == {}


@pytest.mark.parametrize(
    ("subject", "number"),
    [
        ("Merge pull request #7 from owner/promote", 7),
        ("Promote (#12)", 12),
        ("Mention (#12) in the middle", None),
        ("Merge branch 'x'", None),
    ],
)
def test_a_pull_request_is_named_as_github_names_it(subject: str, number: int | None) -> None:
    assert pull_request_of(subject) == number
