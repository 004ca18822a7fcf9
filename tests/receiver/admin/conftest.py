from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.admin import actions
from tests.support.acting import Acting, acting_dashboard
from tests.support.github_server import FakeGitHub


@pytest.fixture
def acting(tmp_path: Path, github: FakeGitHub, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Acting]:
    monkeypatch.setattr(actions, "WRONG_TOKEN_SECONDS", 0.0)
    with acting_dashboard(tmp_path, github, url) as found:
        yield found
