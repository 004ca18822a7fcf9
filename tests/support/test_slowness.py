"""What makes a test slow is read from its code, not from a list."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.git_repos import Origin
from tests.support.slowness import starts_something


@contextmanager
def program() -> Iterator[None]:
    subprocess.run([sys.executable, "-c", ""], check=True)
    yield


class Scenario:
    def run(self) -> None:
        def inner() -> None:
            with program():
                pass

        inner()


class Longer(Scenario):
    pass


def directly() -> None:
    with program():
        pass


def by_an_inherited_method() -> None:
    Longer().run()


@given(st.integers())
def for_each_example(_: int) -> None:
    directly()


def not_at_all(scenario: Scenario) -> str:
    return str(scenario)


def with_git(origin: Origin) -> str:
    return Origin.head(origin)


@pytest.mark.parametrize("function", [program, directly, by_an_inherited_method, for_each_example, Scenario().run])
def test_a_function_is_found_that_starts_a_program_somewhere(function: object) -> None:
    assert starts_something(function)


@pytest.mark.parametrize("function", [not_at_all, with_git])
def test_a_function_is_quick_that_starts_nothing_or_git_alone(function: object) -> None:
    assert not starts_something(function)
