"""Remotes that many tests of the receiver begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.git_repos import FILES, Origin
from tests.support.github_server import FakeGitHub, serving


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    """A git remote in which both environments pin version 1."""
    origin = Origin(tmp_path)
    origin.commit(FILES)
    return origin


@pytest.fixture
def github(tmp_path: Path) -> FakeGitHub:
    """A GitHub over an empty git remote."""
    return FakeGitHub(origin=Origin(tmp_path / "git"))


@pytest.fixture
def url(github: FakeGitHub) -> Iterator[str]:
    """Where that GitHub answers."""
    with serving(github) as url:
        yield url
