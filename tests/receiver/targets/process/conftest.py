"""What the tests of processes share: a state directory whose servers are ended, and the target on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.targets.process.target import ProcessTarget
from tests.support.process_target import cleaned_up, process_target


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    with cleaned_up(tmp_path) as directory:
        yield directory


@pytest.fixture
def target(state: Path) -> ProcessTarget:
    return process_target(state)
