"""Carrying a plan out: one journaled, idempotent action after another.

Intent is committed before an action and its result after it, so that a crash at any point leaves a record of how
far it came. Nobody resumes from that record: after a crash the world is observed and planned anew.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from receiver.core.errors import PinrailError, VersionFailed
from receiver.core.plan import ARCHIVED, Action, ActionKind, Goal, fitting
from receiver.core.state import Server, ServerSpec
from receiver.ports import Stop, never
from receiver.services import Services

log = logging.getLogger(__name__)


@dataclass
class Run:
    """The actions of one deployment, numbered on through the rollback.

    ``stop`` raises Interrupted where the deployment is to give way; ``claimed`` are the versions of the model that
    other slots are being deployed with at this moment.
    """

    services: Services
    deployment: int
    stop: Stop = never
    claimed: Callable[[], Collection[int]] = tuple
    seq: int = field(default=0, init=False)
    server: Server | None = field(default=None, init=False)  # the last one that was acted on
    undone: bool = field(default=False, init=False)  # for a reason that is not the version's

    def apply(self, goal: Goal, actions: Iterable[Action]) -> None:
        """Do the actions in order; the first error is recorded and raised."""
        journal = self.services.journal
        for action in actions:
            self.stop()
            self.seq += 1
            journal.intend(self.deployment, self.seq, action)
            try:
                HANDLERS[action.kind](self, goal, action)
            except Exception as error:
                journal.result(self.deployment, self.seq, f"{type(error).__name__}: {error}")
                raise
            journal.result(self.deployment, self.seq, "done")


def _install(run: Run, goal: Goal, _: Action) -> None:
    spec = _spec(goal)
    run.services.registry.artifacts(spec.slot.model, spec.version, spec.digest)  # they name the packages
    run.services.target.install(spec, run.stop)


def _start(run: Run, goal: Goal, action: Action) -> None:
    spec = _spec(goal)
    services = run.services
    if action.before is not None and (fit := fitting(goal, services.target.observe())) is not None:
        spec = fit.spec  # replicas are missing in it: they are started as the others were
    services.registry.artifacts(spec.slot.model, spec.version, spec.digest)  # so that starting needs no registry
    run.server = services.target.start(spec, run.stop)


def _prove(run: Run, goal: Goal, _: Action) -> None:
    started_here = run.server is not None
    spec, server = _spec(goal), _server(run, goal)
    if not started_here:  # it may be loading still, where the receiver that started it died: it gets its time
        run.server = server = run.services.target.start(server.spec, run.stop)
    artifacts = run.services.registry.artifacts(spec.slot.model, spec.version, spec.digest)
    with _asking(run, server):
        run.services.prober.prove(server, artifacts)


@contextmanager
def _asking(run: Run, server: Server) -> Iterator[None]:
    """What goes wrong while a version is asked is the version's fault: nobody knows what it answered."""
    try:
        yield
    except VersionFailed as error:
        raise _with_log_tail(run.services, server, error) from error
    except (PinrailError, OSError, MemoryError):
        raise
    except Exception as error:
        log.exception("%s: a bug while it was asked", server.spec.slot)
        found = VersionFailed(f"its answers cannot be judged: {type(error).__name__}: {error}")
        raise _with_log_tail(run.services, server, found) from error


def _stage(run: Run, goal: Goal, action: Action) -> None:
    if action.after == ARCHIVED and _number(action.subject) in run.claimed():
        return  # another environment took it up since this was planned, and gives it a stage
    run.services.registry.set_stage(goal.slot.model, _number(action.subject), action.after or "None")


def _alias(run: Run, goal: Goal, action: Action) -> None:
    version = None if action.after is None else _number(action.after)
    run.services.registry.set_alias(goal.slot.model, action.subject, version)


def _switch(run: Run, goal: Goal, _: Action) -> None:
    run.services.target.switch(_server(run, goal))


def _watch(run: Run, goal: Goal, _: Action) -> None:
    server = _server(run, goal)
    with _asking(run, server):
        run.services.prober.watch(server, run.services.stabilise_seconds, run.stop)
    run.stop()  # only a watch that ran to its end undisturbed verifies


def _retire(run: Run, _: Goal, action: Action) -> None:
    for server in run.services.target.observe():
        if server.id == action.subject:
            run.services.target.retire(server)


HANDLERS: dict[ActionKind, Callable[[Run, Goal, Action], None]] = {
    ActionKind.INSTALL: _install,
    ActionKind.START: _start,
    ActionKind.PROVE: _prove,
    ActionKind.STAGE: _stage,
    ActionKind.ALIAS: _alias,
    ActionKind.SWITCH: _switch,
    ActionKind.WATCH: _watch,
    ActionKind.RETIRE: _retire,
}


def _spec(goal: Goal) -> ServerSpec:
    if goal.spec is None:
        raise AssertionError(f"{goal.slot}: an empty slot has no server to act on")
    return goal.spec


def _server(run: Run, goal: Goal) -> Server:
    target = run.services.target
    server = fitting(goal, target.observe())
    if server is None:
        error = VersionFailed(f"{goal.slot} v{_spec(goal).version} has ended by itself")
        raise error if run.server is None else _with_log_tail(run.services, run.server, error)
    run.server = server
    return server


def _number(name: str) -> int:
    return int(name.removeprefix("v"))


def _with_log_tail(services: Services, server: Server, error: VersionFailed) -> VersionFailed:
    return VersionFailed(f"{error}\n{services.target.log_tail(server)}".rstrip())
