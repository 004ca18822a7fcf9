"""A receiver that kills itself at a chosen boundary of its journal, with SIGKILL, as a power cut would."""

import os
import signal
from dataclasses import replace
from enum import StrEnum

from receiver.adapters.journal import Journal
from receiver.adapters.queue import Queue
from receiver.adapters.sqlite import Database
from receiver.core.deployment import Draft, Outcome
from receiver.core.plan import Action, Kind
from receiver.settings import load_settings
from receiver.status import Board
from receiver.wiring import build, open_database
from receiver.worker import Worker


class Moment(StrEnum):
    """Where, around an action, the power goes."""

    BEFORE_ACTING = "after the intent is written, before acting"
    AFTER_ACTING = "after acting, before the result is written"
    AFTER_RESULT = "after the result is written"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class CrashingJournal(Journal):
    """Dies around the first action of ``kind`` in a deployment of ``version``; ``kind`` None: when it is closed.

    With ``putting_back`` it waits until the deployment has failed, and dies around what puts it back.
    """

    def __init__(self, database: Database, kind: Kind | None, moment: Moment, version: int) -> None:
        super().__init__(database)
        self.kind, self.moment, self.version = kind, moment, version
        self.armed = False
        self.putting_back = False

    def open(self, draft: Draft) -> int:
        deployment = super().open(draft)
        self.armed = draft.to_version == self.version and not self.putting_back
        return deployment

    def quarantine(self, entry: object) -> None:
        super().quarantine(entry)  # type: ignore[arg-type]
        self.armed = self.putting_back

    def intend(self, deployment: int, seq: int, action: Action) -> None:
        super().intend(deployment, seq, action)
        if self._here(action.kind, Moment.BEFORE_ACTING):
            die()
        self.doing = action.kind

    def result(self, deployment: int, seq: int, result: str) -> None:
        if self._here(self.doing, Moment.AFTER_ACTING):
            die()
        super().result(deployment, seq, result)
        if self._here(self.doing, Moment.AFTER_RESULT):
            die()

    def close(self, deployment: int, outcome: Outcome, reason: str = "") -> None:
        if self._here(None, Moment.BEFORE_ACTING):
            die()
        super().close(deployment, outcome, reason)
        if self._here(None, Moment.AFTER_RESULT):
            die()

    def _here(self, kind: Kind | None, moment: Moment) -> bool:
        return self.armed and (kind, moment) == (self.kind, self.moment)


def run_receiver(environ: dict[str, str], crash: tuple[Kind | None, Moment, int, bool] | None = None) -> None:
    """The worker of a receiver, in this process, until it dies or is killed."""
    os.environ.update(environ)
    settings = load_settings("pinrail_repo_url")
    database = open_database(settings)
    services = build(settings, database)
    if crash is not None:
        kind, moment, version, putting_back = crash
        journal = CrashingJournal(database, kind, moment, version)
        journal.putting_back = putting_back
        services = replace(services, journal=journal)
    Worker(services, Queue(database), Board(services), settings.pinrail_poll_seconds).run()
