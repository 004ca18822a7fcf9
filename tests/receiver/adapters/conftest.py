from collections.abc import Iterator

import pytest

from receiver.adapters.github.client import GitHubClient
from tests.support.github_server import TOKEN, FakeGitHub, serving


@pytest.fixture
def github() -> FakeGitHub:
    return FakeGitHub()


@pytest.fixture
def client(github: FakeGitHub) -> Iterator[GitHubClient]:
    with serving(github) as url:
        yield GitHubClient(github.repository, TOKEN, url)
