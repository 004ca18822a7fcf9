"""``pinrail retry``: a person allows another attempt at what failed."""

from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.queue import Queue
from receiver.adapters.sqlite.state_lock import holder
from receiver.cli.commands.history import unknown_slot
from receiver.core.errors import Rejected
from receiver.settings import load_settings
from receiver.wiring import open_database


def lift_quarantine(environment: str | None, model: str | None) -> str:
    """Lift the matching quarantines and enqueue a job. Returns what was done.

    Rejected: nothing by that name is in quarantine.
    """
    settings = load_settings()
    database = open_database(settings)
    journal = SqliteJournal(database)
    quarantined = {entry.slot for entry in journal.quarantined()}
    chosen = sorted(s for s in quarantined if environment in (None, s.environment) and model in (None, s.model))
    if environment is not None and not chosen:
        names = ", ".join(map(str, sorted(quarantined))) or "nothing"
        unknown = unknown_slot(journal, environment, model)
        said = unknown or f"{environment}/{model or '*'} is not in quarantine"
        raise Rejected(f"{said}; in quarantine: {names}")
    for slot in chosen:
        journal.lift(slot)
    Queue(database).enqueue("retry")
    lifted = f"lifted: {', '.join(map(str, chosen))}" if chosen else "nothing was in quarantine"
    if holder(settings.pinrail_state_dir) is None:
        return f"{lifted}; no receiver runs on {settings.pinrail_state_dir}: `pinrail up` starts it"
    return f"{lifted}; the receiver tries again"
