"""Several slots that take each other's ports: all get ready first, then their traffic moves in one step.

Each slot is deployed by its own task. Here the tasks of one exchange meet twice: when their new servers are proven,
before the registry is changed, and when their traffic is to be switched. Who gives up before has nobody move. Nothing
of it is remembered: after a crash the next receiver finds the servers that are ready, and begins the exchange anew.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from receiver.core.errors import Interrupted, PinrailError, Rejected, Retryable
from receiver.core.state import Server, ServerSpec, Slot
from receiver.ports import Prober, Stop, Target, never
from receiver.services import Services

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.05  # between two checks whether this one is to give way


class Exchange:
    """One exchange, shared by its members' tasks. ``ports``: the one that each is to have."""

    def __init__(self, target: Target, ports: Mapping[Slot, int]) -> None:
        self._target = target
        self._ports = ports
        self._changed = threading.Condition()
        self._ready: set[Slot] = set()
        self._servers: dict[Slot, Server] = {}
        self._moving = False  # the step is being made, or was
        self._done = False
        self._failure: PinrailError | None = None  # why nobody moves

    def includes(self, spec: ServerSpec) -> bool:
        """A member moves with this server, and the step is still to come."""
        return self._ports.get(spec.slot) == spec.port and not self._done

    def prepared(self, slot: Slot, stop: Stop) -> None:
        """Wait until every member's new server is proven. Rejected, Retryable: somebody's is not."""
        with self._changed:
            self._ready.add(slot)
            self._changed.notify_all()
            self._wait(lambda: len(self._ready) == len(self._ports), slot, stop)

    def switch(self, server: Server, stop: Stop) -> None:
        """Wait until every member is to be switched, and do it once for all.

        Rejected: nobody has moved. The registry names this member's version by now, so that has to be undone, also
        where another one only gave way.
        """
        with self._changed:
            self._ready.add(server.spec.slot)
            self._servers[server.spec.slot] = server
            self._changed.notify_all()
            last = len(self._servers) == len(self._ports) and not self._moving and self._failure is None
            self._moving = self._moving or last
        if last:
            self._move()
        with self._changed:
            try:
                self._wait(lambda: self._done, server.spec.slot, stop)
            except Retryable as error:
                raise Rejected(str(error)) from error

    def leave(self, slot: Slot, reason: Exception | None) -> None:
        """A member's task ended, or failed for a reason. Before the step this ends the exchange for all."""
        text = f"{slot} was to change its port in the same step, so nobody moves: {reason or 'it gave way'}"
        text = text.partition("\n")[0]
        with self._changed:
            if not self._moving and self._failure is None:
                gives_way = reason is None or isinstance(reason, (Interrupted, Retryable, OSError))
                self._failure = Retryable(text) if gives_way else Rejected(text)
                self._changed.notify_all()

    def _move(self) -> None:
        failure: PinrailError | None = None
        try:
            self._target.exchange(list(self._servers.values()))
        except Retryable as error:
            failure = error
        except Exception as error:  # of one server, or nobody's: no reason to condemn every version
            if not isinstance(error, PinrailError):
                log.exception("a bug: ports could not be exchanged")
            failure = Rejected(str(error) or repr(error))
        with self._changed:
            self._done, self._failure = failure is None, failure
            self._changed.notify_all()

    def _wait(self, condition: Callable[[], bool], slot: Slot, stop: Stop) -> None:
        """Nobody gives way while the step is made: before it ends, nobody knows who has which port."""
        while True:
            if not self._moving:
                try:
                    stop()
                except PinrailError as error:
                    self.leave(slot, error)  # before anybody else can begin the step
                    raise
            if self._failure is not None:
                raise type(self._failure)(str(self._failure))
            if condition():
                return
            self._changed.wait(WAIT_SECONDS)


def taking_part(services: Services, exchange: Exchange, slot: Slot, stop: Stop) -> Services:
    """The same outside for one member's deployment: it meets the others where it proves and where it switches."""
    return replace(
        services,
        target=cast("Target", _MeetingTarget(services.target, exchange, slot, stop)),
        prober=_MeetingProber(services.prober, exchange, slot, stop),
    )


class _MeetingTarget:
    """The target; the switch to the server that takes part is made together with the others'."""

    def __init__(self, real: Target, exchange: Exchange, slot: Slot, stop: Stop) -> None:
        self._real = real
        self._exchange = exchange
        self._slot = slot
        self._stop = stop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def install(self, spec: ServerSpec, stop: Stop = never) -> None:
        """See :meth:`receiver.ports.Target.install`."""
        try:
            self._real.install(spec, stop)
        except Exception as error:
            self._exchange.leave(self._slot, error)
            raise

    def start(self, spec: ServerSpec, stop: Stop = never, at_once: int = 1) -> Server:
        """See :meth:`receiver.ports.Target.start`."""
        try:
            return self._real.start(spec, stop, at_once)
        except Exception as error:
            self._exchange.leave(self._slot, error)
            raise

    def switch(self, server: Server) -> None:
        """See :meth:`receiver.ports.Target.switch`."""
        if self._exchange.includes(server.spec):
            self._exchange.switch(server, self._stop)
        else:
            self._real.switch(server)


class _MeetingProber:
    """The prober; who is proven waits for the others."""

    def __init__(self, real: Prober, exchange: Exchange, slot: Slot, stop: Stop) -> None:
        self._real = real
        self._exchange = exchange
        self._slot = slot
        self._stop = stop

    def require_example(self, spec: ServerSpec, artifacts: Path) -> None:
        """See :meth:`receiver.ports.Prober.require_example`."""
        self._real.require_example(spec, artifacts)

    def prove(self, server: Server, artifacts: Path) -> None:
        """See :meth:`receiver.ports.Prober.prove`."""
        try:
            self._real.prove(server, artifacts)
        except Exception as error:
            self._exchange.leave(self._slot, error)
            raise
        if self._exchange.includes(server.spec):
            self._exchange.prepared(self._slot, self._stop)

    def watch(self, server: Server, seconds: float, stop: Stop = never) -> None:
        """See :meth:`receiver.ports.Prober.watch`."""
        self._real.watch(server, seconds, stop)
