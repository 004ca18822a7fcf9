"""How much is read of a repository that anybody may have filled."""

from pathlib import Path

import pytest

from receiver.adapters.git.mirror import GitSource
from receiver.core.errors import Rejected
from tests.support.git_repos import FILES, Origin, git


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    origin = Origin(tmp_path)
    origin.commit(FILES)
    return origin


def fill(origin: Origin, pattern: str, count: int, content: bytes = b"x") -> None:
    """Commit one content under very many names: to make and to push, that costs nothing."""
    blob = origin.blob(content)
    lines = "".join(f"100644 {blob}\t{pattern.format(number)}\n" for number in range(count))
    git(origin.work, "update-index", "--add", "--index-info", stdin=lines.encode())
    origin.finish("Very many")


@pytest.mark.parametrize(
    ("count", "content", "said"),
    [
        (3_000, b"", "environments: found 3002 files, allowed at most 64"),
        (60, b"#" * 60_000, "bytes in all, allowed at most 1048576"),
    ],
    ids=["many files", "many bytes"],
)
def test_very_many_environment_files_are_refused_before_they_are_read(
    origin: Origin, tmp_path: Path, count: int, content: bytes, said: str
) -> None:
    fill(origin, "environments/e{}.yaml", count, content)
    with pytest.raises(Rejected, match=said):
        GitSource(origin.url, "main", tmp_path / "mirror.git").snapshot()
    git(origin.path, "update-ref", "refs/pull/7/head", "refs/heads/main")
    git(origin.path, "update-ref", "refs/heads/main", "refs/heads/main~1")
    with pytest.raises(Rejected, match=said):
        GitSource(origin.url, "main", tmp_path / "proposals.git").pull_request(7)


def test_what_lies_elsewhere_in_a_large_repository_is_not_read(origin: Origin, tmp_path: Path) -> None:
    fill(origin, "environments/more/{}.yaml", 5_000)
    fill(origin, "data/{}/environments/staging.yaml", 5_000, b"{[")
    assert set(GitSource(origin.url, "main", tmp_path / "mirror.git").snapshot().files) == set(FILES)
