"""Carrying a plan out: one journaled, idempotent action after another.

Intent is committed before an action and its result after it, so that a crash at any point leaves a record of how
far it came. Nobody resumes from that record: after a crash the world is observed and planned anew.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from receiver.core.errors import Rejected
from receiver.core.plan import Action, Goal, Kind, fitting
from receiver.core.state import Server, ServerSpec
from receiver.services import Services


@dataclass
class Run:
    """The actions of one deployment, numbered on through putting back."""

    services: Services
    deployment: int
    seq: int = field(default=0, init=False)

    def apply(self, goal: Goal, actions: Iterable[Action]) -> None:
        """Do the actions in order; the first error is recorded and raised."""
        journal = self.services.journal
        for action in actions:
            self.seq += 1
            journal.intend(self.deployment, self.seq, action)
            try:
                HANDLERS[action.kind](self.services, goal, action)
            except Exception as error:
                journal.result(self.deployment, self.seq, f"{type(error).__name__}: {error}")
                raise
            journal.result(self.deployment, self.seq, "done")


def _start(services: Services, goal: Goal, _: Action) -> None:
    spec = _spec(goal)
    services.registry.artifacts(spec.slot.model, spec.version, spec.digest)  # so that starting needs no registry
    services.target.start(spec)


def _prove(services: Services, goal: Goal, _: Action) -> None:
    spec, server = _spec(goal), _server(services, goal)
    artifacts = services.registry.artifacts(spec.slot.model, spec.version, spec.digest)
    try:
        services.prober.prove(server, artifacts)
    except Rejected as error:
        raise _with_last_words(services, server, error) from error


def _stage(services: Services, goal: Goal, action: Action) -> None:
    services.registry.set_stage(goal.slot.model, _number(action.subject), action.after or "None")


def _alias(services: Services, goal: Goal, action: Action) -> None:
    version = None if action.after is None else _number(action.after)
    services.registry.set_alias(goal.slot.model, action.subject, version)


def _switch(services: Services, goal: Goal, _: Action) -> None:
    services.target.switch(_server(services, goal))


def _watch(services: Services, goal: Goal, _: Action) -> None:
    server = _server(services, goal)
    try:
        services.prober.watch(server, services.stabilise_seconds)
    except Rejected as error:
        raise _with_last_words(services, server, error) from error


def _retire(services: Services, _: Goal, action: Action) -> None:
    for server in services.target.observe():
        if server.id == action.subject:
            services.target.retire(server)


HANDLERS: dict[Kind, Callable[[Services, Goal, Action], None]] = {
    Kind.START: _start,
    Kind.PROVE: _prove,
    Kind.STAGE: _stage,
    Kind.ALIAS: _alias,
    Kind.SWITCH: _switch,
    Kind.WATCH: _watch,
    Kind.RETIRE: _retire,
}


def _spec(goal: Goal) -> ServerSpec:
    if goal.spec is None:
        raise AssertionError(f"{goal.slot}: an empty slot has no server to act on")
    return goal.spec


def _server(services: Services, goal: Goal) -> Server:
    server = fitting(goal, services.target.observe())
    if server is None:
        raise Rejected(f"{goal.slot} v{_spec(goal).version} has ended by itself")
    return server


def _number(name: str) -> int:
    return int(name.removeprefix("v"))


def _with_last_words(services: Services, server: Server, error: Rejected) -> Rejected:
    return Rejected(f"{error}\n{services.target.last_words(server)}".rstrip())
