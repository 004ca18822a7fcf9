"""Letting a deployment give way at any moment: also while the registry hangs, and while a server starts."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from receiver.core.errors import Interrupted
from receiver.core.state import Server, ServerSpec
from receiver.ports import Prober, Registry, Stop, Target, never
from receiver.services import Services

T = TypeVar("T")
WAIT_SECONDS = 0.1  # between attempts to be one of those that may start a server


class Interrupt:
    """The request that a deployment gives way. Thread-safe; the first reason counts."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reason: str | None = None
        self.installing = ""  # the packages that it installs at the moment, which may take minutes

    @property
    def requested(self) -> bool:
        """It was asked to give way."""
        return self._reason is not None

    def request(self, reason: str) -> None:
        """Ask it to give way; returns at once."""
        with self._changed:
            self._reason = self._reason or reason
            self._changed.notify_all()

    def check(self) -> None:
        """Raise Interrupted if it was asked to give way."""
        if self._reason is not None:
            raise Interrupted(self._reason)

    def run(self, call: Callable[[], T]) -> T:
        """Do what may hang, on a thread of its own. Interrupted: it is left behind, and may still happen."""
        self.check()
        outcome: Future[T] = Future()

        def work() -> None:
            try:
                outcome.set_result(call())
            except BaseException as error:  # noqa: BLE001 - it is raised where it was called from
                outcome.set_exception(error)
            with self._changed:
                self._changed.notify_all()

        threading.Thread(target=work, name="outside", daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: outcome.done() or self.requested)
        if outcome.done():
            return outcome.result()
        raise Interrupted(self._reason)


def interruptible(services: Services, interrupt: Interrupt, starts: threading.Semaphore) -> Services:
    """The same outside, for one deployment; at most as many start a server at once as ``starts`` lets."""
    return replace(
        services,
        registry=cast("Registry", _Calls(services.registry, interrupt)),
        target=cast("Target", _BoundedStarts(services.target, starts, interrupt)),
        prober=_InterruptibleProber(services.prober, interrupt),
    )


class _Calls:
    """Every method of the registry, each call on a thread that can be left behind."""

    def __init__(self, real: object, interrupt: Interrupt) -> None:
        self._real = real
        self._interrupt = interrupt

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)
        return lambda *arguments: self._interrupt.run(partial(method, *arguments))


class _BoundedStarts:
    """The target; a start waits until it is one of those that may, and what is being installed is known."""

    def __init__(self, real: Target, starts: threading.Semaphore, interrupt: Interrupt) -> None:
        self._real = real
        self._starts = starts
        self._interrupt = interrupt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def install(self, spec: ServerSpec, stop: Stop = never) -> None:
        """See :meth:`receiver.ports.Target.install`."""
        self._interrupt.installing = self._real.missing_packages(spec)
        try:
            self._real.install(spec, stop)
        finally:
            self._interrupt.installing = ""

    def start(self, spec: ServerSpec, stop: Stop = never, at_once: int = 1) -> Server:
        """See :meth:`receiver.ports.Target.start`. Replicas start at once as far as nobody else does.

        What has to be installed for a version that is brought back is installed first: others start meanwhile.
        """
        del at_once
        if self._real.missing_packages(spec):
            self._real.install(spec, stop)
        while not self._starts.acquire(timeout=WAIT_SECONDS):
            stop()
        acquired = 1
        try:
            # Never waited for: two slots that each hold a part and wait for the rest would wait for ever.
            while acquired < spec.replicas and self._starts.acquire(blocking=False):
                acquired += 1
            return self._real.start(spec, stop, acquired)
        finally:
            self._starts.release(acquired)


class _InterruptibleProber:
    """The prober; a model's first answer may take long."""

    def __init__(self, real: Prober, interrupt: Interrupt) -> None:
        self._real = real
        self._interrupt = interrupt

    def require_example(self, spec: ServerSpec, artifacts: Path) -> None:
        """See :meth:`receiver.ports.Prober.require_example`."""
        self._real.require_example(spec, artifacts)

    def prove(self, server: Server, artifacts: Path) -> None:
        """See :meth:`receiver.ports.Prober.prove`."""
        self._interrupt.run(lambda: self._real.prove(server, artifacts))

    def watch(self, server: Server, seconds: float, stop: Stop = never) -> None:
        """See :meth:`receiver.ports.Prober.watch`."""
        self._real.watch(server, seconds, stop)
