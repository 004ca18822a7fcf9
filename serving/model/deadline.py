"""Calls with a deadline: each runs in a daemon thread, which delays neither its caller nor the process's exit."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def begin(call: Callable[[], T], name: str) -> "Future[T]":
    """Start the call in a daemon thread of this name; the future gets what it returns or raises."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again by the future
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def within(seconds: float, call: Callable[[], T], name: str) -> T:
    """Return what the call returns, and raise what it raises. TimeoutError: it took longer; the thread is left."""
    return begin(call, name).result(seconds)
