"""``pinrail hold`` and ``pinrail resume``: whether anything new is deployed in an environment."""

import time

from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.state_lock import holder
from receiver.core.errors import Rejected
from receiver.core.pins import read_pins
from receiver.core.quarantine import Freeze
from receiver.settings import Settings, load_settings
from receiver.wiring import open_database


def hold(environment: str, model: str | None, message: str) -> str:
    """Let nothing new be deployed there. Returns what was done. Rejected: there is no such environment or pin."""
    settings = load_settings()
    journal = SqliteJournal(open_database(settings))
    _require_pinned(journal, environment, model)
    journal.freeze(Freeze(environment, model, message, time.time()))
    place = _place(environment, model)
    return _said(settings, f"{place} is held: nothing new is deployed there until `pinrail resume`")


def resume(environment: str, model: str | None) -> str:
    """Let new versions be deployed there again. Returns what was done. Rejected: it is not held."""
    settings = load_settings()
    journal = SqliteJournal(open_database(settings))
    if not journal.unfreeze(environment, model):
        held = ", ".join(_place(freeze.environment, freeze.model) for freeze in journal.frozen()) or "nothing"
        raise Rejected(
            f"{_place(environment, model)} is not held; held: {held}. A version that failed is tried again with "
            "`pinrail retry`"
        )
    return _said(settings, f"{_place(environment, model)} is not held any more")


def _require_pinned(journal: SqliteJournal, environment: str, model: str | None) -> None:
    """Names are checked where the pins are known already; a hold may come before the first look at them."""
    snapshot = journal.remembered_pins()
    if snapshot is None:
        return
    desired = read_pins(snapshot.files)
    if model is None:
        desired.environment(environment)
    else:
        desired.pin(environment, model)


def _said(settings: Settings, done: str) -> str:
    if holder(settings.pinrail_state_dir) is None:
        return f"{done}; no receiver runs on {settings.pinrail_state_dir}: `pinrail up` starts it"
    return done


def _place(environment: str, model: str | None) -> str:
    return environment if model is None else f"{environment}/{model}"
