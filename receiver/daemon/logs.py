"""Logs: one plain line per record on standard error, without secrets, whoever wrote the record."""

import logging
import time

from receiver.core.redact import Redactor

# A line for each request, for each of ngrok's own lines, and for whatever a stranger sends that is no HTTP.
CHATTY = {"httpx": logging.WARNING, "pyngrok": logging.WARNING, "uvicorn.error": logging.ERROR}

_exceptions = logging.Formatter()


class RedactingFilter(logging.Filter):
    """Rewrites each record into one redacted line, its traceback included; lets every record pass.

    Put it on handlers: a logger's own filters do not see what its children log.
    """

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact in place."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # a wrong format string must not cost the line
            text = f"{record.msg} {record.args}"
        if record.exc_info:
            text = f"{text} | {' | '.join(_exceptions.formatException(record.exc_info).splitlines())}"
        record.msg, record.args, record.exc_info, record.exc_text = self._redact.line(text), None, None, None
        record.stack_info = None
        return True


def configure_logs(redact: Redactor, level: int = logging.INFO) -> None:
    """Send all logs of this process to standard error, as ``2026-01-31T12:00:00Z INFO module text``."""
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    handler.addFilter(RedactingFilter(redact))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name, lowest in CHATTY.items():
        logging.getLogger(name).setLevel(lowest)
