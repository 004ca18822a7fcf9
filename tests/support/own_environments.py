"""Environments with packages that this venv does not have, from a real index: skipped where none answers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ml.packages.build import PackagesUnavailableError
from ml.packages.decision import OURS, Needed
from ml.packages.store import PackageStore

# The guard of all tests: what stands for no network there. These tests need an index.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


@contextmanager
def without_proxies() -> Iterator[None]:
    """Let what starts in this block reach an index."""
    with pytest.MonkeyPatch.context() as patch:
        for name in PROXIES:
            patch.delenv(name)
        yield


def environment_or_skip(store: PackageStore, *packages: str) -> Path:
    """One with these packages; where no index answers, the test is skipped, or fails if one is required."""
    try:
        return store.obtain(Needed(packages, (), OURS, ()), lambda: None)
    except PackagesUnavailableError as error:
        if os.environ.get("PINRAIL_REQUIRE_INDEX"):
            raise
        pytest.skip(f"no package index: {error}")
