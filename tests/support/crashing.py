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
from receiver.core.state import Slot
from receiver.planning.status import StatusBoard
from receiver.reconciler.controller import Controller
from receiver.reconciler.fetcher import Fetcher
from receiver.settings import load_settings
from receiver.targets.process.target import ProcessTarget
from receiver.wiring import build, open_database, parallel_starts

BESIDE_SECONDS = 20.0


class Moment(StrEnum):
    """Where, around an action, the power goes."""

    BEFORE_ACTING = "after the intent is written, before acting"
    AFTER_ACTING = "after acting, before the result is written"
    AFTER_RESULT = "after the result is written"


@dataclass(frozen=True)
class Crash:
    """Die around the first action of ``kind`` in a deployment of ``version``; ``kind`` None: where it is closed.

    With ``rolling_back`` only once the deployment has failed, during the rollback. With ``slot`` only in that one;
    with ``beside`` only while another slot's of the same version has written the intent of such an action.
    """

    kind: ActionKind | None
    moment: Moment
    version: int
    rolling_back: bool = False
    slot: Slot | None = None
    beside: ActionKind | None = None


class CrashingJournal(SqliteJournal):
    """A journal that ends its process at one of its own boundaries."""

    def __init__(self, database: Database, crash: Crash) -> None:
        super().__init__(database)
        self.crash = crash
        self.armed: set[int] = set()  # deployments
        self.others: set[int] = set()
        self.doing: dict[int, ActionKind] = {}
        self.there = threading.Event()  # the other slot's deployment is where it should be

    def open(self, draft: Draft, messages: Sequence[Message] = ()) -> int:
        deployment = super().open(draft, messages)
        crash = self.crash
        if draft.slot != (crash.slot or draft.slot):
            if draft.to_version == crash.version:
                self.others.add(deployment)
        elif draft.to_version == crash.version and not crash.rolling_back:
            self.armed = {deployment}
        elif crash.slot is None:
            self.armed = set()
        return deployment

    def quarantine(self, *entries: Quarantine, messages: Sequence[Message] = ()) -> None:
        super().quarantine(*entries, messages=messages)
        self.armed = {entry.id for entry in self.running()} if self.crash.rolling_back else set()

    def intend(self, deployment: int, seq: int, action: Action) -> None:
        super().intend(deployment, seq, action)
        if deployment in self.others and action.kind is self.crash.beside:
            self.there.set()
            threading.Event().wait()  # until the power goes
        self.doing[deployment] = action.kind
        self._reach(deployment, action.kind, Moment.BEFORE_ACTING)

    def result(self, deployment: int, seq: int, result: str) -> None:
        self._reach(deployment, self.doing[deployment], Moment.AFTER_ACTING)
        super().result(deployment, seq, result)
        self._reach(deployment, self.doing[deployment], Moment.AFTER_RESULT)

    def close(
        self,
        deployment: int,
        outcome: Outcome,
        reason: str = "",
        messages: Sequence[Message] = (),
        repeat_of: int | None = None,
    ) -> None:
        self._reach(deployment, None, Moment.BEFORE_ACTING)
        super().close(deployment, outcome, reason, messages, repeat_of)
        self._reach(deployment, None, Moment.AFTER_RESULT)

    def _reach(self, deployment: int, kind: ActionKind | None, moment: Moment) -> None:
        if deployment in self.armed and (kind, moment) == (self.crash.kind, self.crash.moment):
            if self.crash.beside is not None and not self.there.wait(BESIDE_SECONDS):
                os._exit(1)  # the test expects a kill
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
