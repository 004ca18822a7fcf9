"""What a task's calls may take together."""

import os
import threading
import time

import pytest

from receiver.adapters import shell
from receiver.adapters.time_limit import at_most, time_limit
from receiver.core.errors import Retryable


def test_without_a_limit_each_call_has_its_own_time() -> None:
    assert at_most(30.0) == 30.0


def test_a_call_gets_what_is_left_and_after_that_nothing() -> None:
    with time_limit(20.0):
        assert at_most(10.0) == 10.0
        assert 19.0 < at_most(30.0) <= 20.0
    with time_limit(0.0), pytest.raises(Retryable, match="took longer than 0 s in all"):
        at_most(30.0)
    assert at_most(30.0) == 30.0


def test_of_two_limits_the_one_that_ends_first_counts() -> None:
    with time_limit(5.0), time_limit(50.0):
        assert at_most(30.0) <= 5.0
    with time_limit(50.0), time_limit(5.0):
        assert at_most(30.0) <= 5.0


def test_a_program_ends_with_the_limit_or_when_the_task_is_stopped() -> None:
    def sleep() -> None:
        shell.run(["sleep", "60"], environment={"PATH": os.environ["PATH"]}, timeout=60)

    began, stop = time.monotonic(), threading.Event()
    with time_limit(0.1), pytest.raises(Retryable, match=r"did not end within 0\.\d+ s"):
        sleep()
    stop.set()
    with time_limit(50.0, stop), time_limit(50.0), pytest.raises(Retryable, match="because the receiver stops"):
        sleep()
    assert time.monotonic() - began < 10
