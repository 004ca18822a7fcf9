"""Which tests take seconds: those whose code, or whose fixtures' code, starts a server or a program, or trains."""

import inspect
import multiprocessing
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType, FunctionType, MethodType
from typing import Any

import pytest

from ml.train import train
from receiver.adapters import shell
from receiver.adapters.gate_runner import GateRunner
from receiver.adapters.mlflow.local_server import running_mlflow
from receiver.targets.compose.target import ComposeTarget
from receiver.targets.process.target import ProcessTarget
from tests.support import git_repos, github_server

STARTERS = (
    *(subprocess, multiprocessing, shell),
    *(running_mlflow, train, GateRunner, ProcessTarget, ComposeTarget, github_server.serving),
)
QUICK = (git_repos.git,)  # a program that takes milliseconds


def is_slow(item: pytest.Item) -> bool:
    """Whether the test is marked as long, needs docker, or uses what takes seconds."""
    if item.get_closest_marker("long") or item.get_closest_marker("docker"):
        return True
    if not isinstance(item, pytest.Function):
        return False
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    functions = [item.function, *(definition.func for definitions in fixtures for definition in definitions)]
    return any(map(starts_something, functions))


@cache
def starts_something(function: Callable[..., Any]) -> bool:
    """Whether the function names what takes seconds, or a function or class of the tests that does."""
    seen: set[FunctionType] = set()
    left = list(_functions(function))
    while left:
        one = left.pop()
        if one in seen or one in QUICK:
            continue
        seen.add(one)
        for name in _names(one.__code__):
            value = one.__globals__.get(name)
            if any(value is starter for starter in STARTERS):
                return True
            left += _functions(value)
    return False


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _functions(value: object) -> Iterator[FunctionType]:
    """The functions of the tests that come with a value: itself, or a class's."""
    values = [v for base in value.__mro__ for v in vars(base).values()] if inspect.isclass(value) else [value]
    for one in values:
        plain = _plain(one)
        if plain is not None and plain.__module__.startswith("tests."):
            yield plain


def _plain(value: object) -> FunctionType | None:
    """The function behind decorators."""
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, staticmethod | classmethod | MethodType):
        value = value.__func__
    inner = getattr(getattr(value, "hypothesis", None), "inner_test", value)
    unwrapped: Callable[..., Any] | Any = inspect.unwrap(inner) if callable(inner) else inner
    return unwrapped if isinstance(unwrapped, FunctionType) else None
