"""``pinrail open``: the dashboard, or a model's page, in a browser."""

import os
import sys
import webbrowser

import httpx

from receiver.adapters.addresses import url_host
from receiver.cli.commands.logs import live_server
from receiver.core.errors import Rejected
from receiver.core.state import Slot
from receiver.settings import Settings, load_settings
from receiver.wiring import build_target

SECONDS = 2.0


def open_page(environment: str | None, model: str | None) -> str:
    """Open the page, where this machine has a browser; returns its address. Rejected: nothing answers there."""
    settings = load_settings()
    url = _dashboard(settings) if environment is None else _model_page(settings, environment, model)
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(url)  # elsewhere that might start a browser in this terminal
    return url


def _dashboard(settings: Settings) -> str:
    url = f"http://127.0.0.1:{settings.pinrail_admin_port}/"
    try:
        httpx.get(f"{url}healthz", timeout=SECONDS)
    except httpx.HTTPError:
        raise Rejected(f"no receiver answers at {url}: `pinrail up` starts it") from None
    return url


def _model_page(settings: Settings, environment: str, model: str | None) -> str:
    if model is None:
        raise Rejected("found an environment and no model, allowed both or none: name the model too")
    server = live_server(build_target(settings), Slot(environment, model))
    return f"http://{url_host(settings.pinrail_host)}:{server.spec.port}/"
