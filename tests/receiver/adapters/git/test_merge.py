"""A pull request is planned as what its merge would make of the branch, on real git."""

from pathlib import Path

import pytest

from receiver.adapters.git.mirror import GitSource
from receiver.core.errors import Rejected
from tests.support.git_repos import FILES, PRODUCTION, STAGING, Origin, git, pinned

PRODUCTION_FILE, STAGING_FILE = "environments/production.yaml", "environments/staging.yaml"


@pytest.fixture
def source(origin: Origin, tmp_path: Path) -> GitSource:
    return GitSource(origin.url, "main", tmp_path / "mirror.git")


def propose(origin: Origin, files: dict[str, str | bytes | None], number: int = 7) -> str:
    """A pull request from where the branch is now; the branch itself stays."""
    start = origin.head()
    origin.branch = "contribution"
    commit = origin.commit(files)
    git(origin.path, "update-ref", f"refs/pull/{number}/head", commit)
    origin.branch = "main"
    git(origin.work, "reset", "--hard", "--quiet", start)
    return commit


def test_what_was_merged_meanwhile_stays(origin: Origin, source: GitSource) -> None:
    proposed = propose(origin, {PRODUCTION_FILE: pinned(PRODUCTION, 2)})
    origin.commit({STAGING_FILE: pinned(STAGING, 3)})
    found = source.pull_request(7)
    assert found.commit == proposed
    assert dict(found.files) == {
        PRODUCTION_FILE: pinned(PRODUCTION, 2).encode(),
        STAGING_FILE: pinned(STAGING, 3).encode(),
    }


def test_two_changes_of_one_file_are_merged_line_by_line(origin: Origin, source: GitSource) -> None:
    propose(origin, {STAGING_FILE: STAGING.replace("port: 8000", "port: 8010")})
    origin.commit({STAGING_FILE: STAGING.replace("# what staging serves", "# what staging serves now")})
    merged = source.pull_request(7).files[STAGING_FILE].decode()
    assert "port: 8010" in merged
    assert "serves now" in merged


def test_a_conflict_is_refused_with_the_files_name(origin: Origin, source: GitSource) -> None:
    propose(origin, {STAGING_FILE: pinned(STAGING, 2)})
    origin.commit({STAGING_FILE: pinned(STAGING, 3)})
    with pytest.raises(Rejected, match=r"environments/staging.yaml: found changes on both sides"):
        source.pull_request(7)


def test_a_file_that_one_side_removed_and_the_other_changed_is_a_conflict(origin: Origin, source: GitSource) -> None:
    propose(origin, {STAGING_FILE: None})
    assert list(source.pull_request(7).files) == [PRODUCTION_FILE]
    origin.commit({STAGING_FILE: pinned(STAGING, 3)})
    with pytest.raises(Rejected, match="both sides"):
        source.pull_request(7)


def test_a_pull_request_that_repairs_what_cannot_be_read_is_read(origin: Origin, source: GitSource) -> None:
    origin.commit_entry(STAGING_FILE, "120000", origin.blob(b"/etc/passwd"))
    git(origin.work, "reset", "--hard", "--quiet")
    (origin.work / STAGING_FILE).unlink()
    propose(origin, {STAGING_FILE: STAGING})
    assert dict(source.pull_request(7).files) == {path: text.encode() for path, text in FILES.items()}


def test_a_history_of_its_own_cannot_be_merged(origin: Origin, source: GitSource) -> None:
    tree = git(origin.path, "rev-parse", "main^{tree}")
    alien = git(origin.path, "commit-tree", tree, "-m", "alien")
    git(origin.path, "update-ref", "refs/pull/7/head", alien)
    with pytest.raises(Rejected, match="no history"):
        source.pull_request(7)
