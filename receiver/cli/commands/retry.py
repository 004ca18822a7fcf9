"""``pinrail retry``: a person allows another attempt at what failed."""

from receiver.adapters.sqlite.state_lock import holder
from receiver.cli.requests import operations
from receiver.settings import load_settings


def lift_quarantine(environment: str | None, model: str | None) -> str:
    """Lift the matching quarantines and enqueue a job. Returns what was done.

    Rejected: nothing by that name is in quarantine.
    """
    settings = load_settings()
    lifted = operations(settings).retry(environment, model)
    if holder(settings.pinrail_state_dir) is None:
        return f"{lifted}; no receiver runs on {settings.pinrail_state_dir}: `pinrail up` starts it"
    return f"{lifted}; the receiver tries again"
