"""The contract of sources, kept by the fake that other tests use and by git."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from receiver.adapters.git.mirror import GitSource
from tests.contracts.source import Rig, SourceContract
from tests.support.fake_source import FakeSource
from tests.support.git_repos import Origin


class TestFakeSource(SourceContract):
    @pytest.fixture
    def rig(self) -> Rig:
        source = FakeSource()

        def set_branch_gone() -> None:
            source.branch_exists = False

        def set_reachable(reachable: bool) -> None:
            source.reachable = reachable

        return Rig(source, source.commit, source.rewrite, set_branch_gone, set_reachable)


class TestGitSource(SourceContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        origin = Origin(tmp_path)
        held: set[str] = set()

        def commit(files: Mapping[str, bytes]) -> str:
            gone = dict.fromkeys(held - set(files))
            held.clear()
            held.update(files)
            return origin.commit({**files, **gone})

        def set_reachable(reachable: bool) -> None:
            origin.come_back() if reachable else origin.vanish()

        source = GitSource(origin.url, "main", tmp_path / "state" / "mirror.git")
        return Rig(source, commit, origin.reset, origin.delete_branch, set_reachable)
