"""``pinrail hold`` and ``pinrail resume``: whether anything new is deployed in an environment."""

from receiver.adapters.sqlite.state_lock import holder
from receiver.cli.requests import operations
from receiver.settings import Settings, load_settings


def hold(environment: str, model: str | None, message: str) -> str:
    """Let nothing new be deployed there. Returns what was done. Rejected: there is no such environment or pin."""
    settings = load_settings()
    return _said(settings, operations(settings).hold(environment, model, message))


def resume(environment: str, model: str | None) -> str:
    """Let new versions be deployed there again. Returns what was done. Rejected: it is not held."""
    settings = load_settings()
    return _said(settings, operations(settings).resume(environment, model))


def _said(settings: Settings, done: str) -> str:
    if holder(settings.pinrail_state_dir) is None:
        return f"{done}; no receiver runs on {settings.pinrail_state_dir}: `pinrail up` starts it"
    return done
