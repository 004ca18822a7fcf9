"""Who asks, and for what: the requests of the person at this terminal."""

import getpass

from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.queue import Queue
from receiver.adapters.sqlite.requests import RequestRecords
from receiver.core.redact import Redactor
from receiver.github_wiring import build_upstream
from receiver.operations import ChangeOperations, Operations
from receiver.services import Services
from receiver.settings import Settings
from receiver.wiring import open_database


def operations(settings: Settings) -> Operations:
    """What can be asked without git, registry and GitHub."""
    database, redact = open_database(settings), Redactor(settings.secrets)
    return Operations(
        SqliteJournal(database, redact), Queue(database, redact), RequestRecords(database, redact), who()
    )


def change_operations(settings: Settings, services: Services) -> ChangeOperations:
    """What changes a pin."""
    requests = RequestRecords(open_database(settings), Redactor(settings.secrets))
    return ChangeOperations(services, lambda: build_upstream(settings), requests, who())


def who() -> str:
    """The user of this machine; a container may have a number without a name."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError):
        return "a user without a name (command line)"
