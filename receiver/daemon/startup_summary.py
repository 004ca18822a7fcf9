"""The lines that a receiver says when it has started: where it is, and what it looks at."""

import logging

from receiver.core.errors import PinrailError
from receiver.core.pins import read_pins
from receiver.core.redact import Redactor
from receiver.daemon.ingress import IngressStatus
from receiver.ports import Source
from receiver.settings import Settings

log = logging.getLogger(__name__)


def log_startup_summary(settings: Settings, source: Source, reached: IngressStatus) -> None:
    """Log them."""
    log.info("public URL: %s", reached.public_url)
    log.info("webhook: %s", reached.webhook)
    log.info("dashboard: http://127.0.0.1:%d/", settings.pinrail_admin_port)
    log.info("environments: %s", _environments(source))
    log.info("registry: %s", Redactor().line(settings.mlflow_tracking_uri))


def _environments(source: Source) -> str:
    try:
        snapshot = source.snapshot()
        environments = read_pins(snapshot.files).environments
    except PinrailError as error:
        return f"cannot be read now: {error}"
    pins = [
        f"{environment.name} ({', '.join(f'{pin.model} v{pin.version}' for pin in environment.models.values())})"
        for environment in environments
    ]
    return f"{', '.join(pins)} at {snapshot.commit[:12]}"
