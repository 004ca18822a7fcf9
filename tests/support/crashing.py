"""A receiver that kills itself at a chosen boundary of its journal, with SIGKILL, as a power cut would."""

import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.queue import Queue
from receiver.core.deployment import Draft, Outcome
from receiver.core.messages import Message
from receiver.core.plan import Action, ActionKind
from receiver.core.quarantine import Quarantine
from receiver.planning.status import StatusBoard
from receiver.reconciler.controller import Controller
from receiver.reconciler.fetcher import Fetcher
from receiver.settings import load_settings
from receiver.targets.process.target import ProcessTarget
from receiver.wiring import build, open_database, parallel_starts


class Moment(StrEnum):
    """Where, around an action, the power goes."""

    BEFORE_ACTING = "after the intent is written, before acting"
    AFTER_ACTING = "after acting, before the result is written"
    AFTER_RESULT = "after the result is written"


@dataclass(frozen=True)
class Crash:
    """Die around the first action of ``kind`` in a deployment of ``version``; ``kind`` None: where it is closed.

    With ``rolling_back`` only once the deployment has failed, during the rollback.
    """

    kind: ActionKind | None
    moment: Moment
    version: int
    rolling_back: bool = False


class CrashingJournal(SqliteJournal):
    """A journal that ends its process at one of its own boundaries."""

    def __init__(self, database: Database, crash: Crash) -> None:
        super().__init__(database)
        self.crash = crash
        self.armed = False
        self.doing: ActionKind | None = None

    def open(self, draft: Draft, messages: Sequence[Message] = ()) -> int:
        deployment = super().open(draft, messages)
        self.armed = draft.to_version == self.crash.version and not self.crash.rolling_back
        return deployment

    def quarantine(self, *entries: Quarantine, messages: Sequence[Message] = ()) -> None:
        super().quarantine(*entries, messages=messages)
        self.armed = self.crash.rolling_back

    def intend(self, deployment: int, seq: int, action: Action) -> None:
        super().intend(deployment, seq, action)
        self._reach(action.kind, Moment.BEFORE_ACTING)
        self.doing = action.kind

    def result(self, deployment: int, seq: int, result: str) -> None:
        self._reach(self.doing, Moment.AFTER_ACTING)
        super().result(deployment, seq, result)
        self._reach(self.doing, Moment.AFTER_RESULT)

    def close(
        self,
        deployment: int,
        outcome: Outcome,
        reason: str = "",
        messages: Sequence[Message] = (),
        repeat_of: int | None = None,
    ) -> None:
        self._reach(None, Moment.BEFORE_ACTING)
        super().close(deployment, outcome, reason, messages, repeat_of)
        self._reach(None, Moment.AFTER_RESULT)

    def _reach(self, kind: ActionKind | None, moment: Moment) -> None:
        if self.armed and (kind, moment) == (self.crash.kind, self.crash.moment):
            os.kill(os.getpid(), signal.SIGKILL)


def run_receiver(environ: dict[str, str], crash: Crash | None, servers: Sequence[str] | None = None) -> None:
    """The worker of a receiver, in this process, until it is killed. ``servers`` starts a model server."""
    os.environ.update(environ)
    settings = load_settings("pinrail_repo_url")
    database = open_database(settings)
    services = build(settings, database)
    if servers is not None:
        services = replace(services, target=ProcessTarget(settings.pinrail_state_dir, command=servers))
    if crash is not None:
        services = replace(services, journal=CrashingJournal(database, crash))
    poll = settings.pinrail_poll_seconds
    controller = Controller(services, StatusBoard(), parallel=parallel_starts(settings), poll_seconds=poll)
    controller.start()
    Fetcher(services, Queue(database), controller, poll).start()
    threading.Event().wait()
