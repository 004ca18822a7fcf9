import asyncio
import os
import socket
from pathlib import Path

import pytest

from tests.support.dropped_tasks import DROPPED_TASKS


def test_a_test_cannot_reach_further_than_loopback() -> None:
    with pytest.raises(AssertionError, match="only loopback"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(AssertionError, match="only loopback"):
        socket.getaddrinfo("example.invalid", 443)


def test_a_test_sees_nobodys_credentials_home_or_directory(tmp_path: Path) -> None:
    theirs = {name for name in os.environ if name.startswith(("GITHUB_", "PINRAIL_", "NGROK_"))}
    # Which tests may not be skipped is said to pytest, not to Pinrail.
    assert not {name for name in theirs if not name.startswith("PINRAIL_REQUIRE_")}
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert Path.home().name == "home"
    assert ".pytest_cache" in os.environ["GIT_CONFIG_GLOBAL"]
    assert Path.cwd() == tmp_path


def test_a_dropped_task_that_failed_fails_its_test(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("of a dropped task")

    async def drop() -> None:
        task = asyncio.create_task(fail())
        await asyncio.wait([task])

    asyncio.run(drop())
    with pytest.raises(pytest.fail.Exception, match="of a dropped task"):
        DROPPED_TASKS.fail_if_any(None)
    assert not caplog.records, "formatting a traceback in a finalizer may fail"
