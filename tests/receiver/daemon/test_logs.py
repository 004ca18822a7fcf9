"""Logs: one line per record, no secrets, whoever wrote it."""

import io
import logging
import re

import pytest

from receiver.core.redact import Redactor
from receiver.daemon.logs import RedactingFilter, configure_logs


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(written: io.StringIO) -> logging.Logger:
    handler = logging.StreamHandler(written)
    handler.addFilter(RedactingFilter(Redactor(["hunter2hunter2"])))
    logger = logging.getLogger("tests.logs")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.DEBUG)
    return logger


def test_secrets_are_masked_in_message_arguments_and_traceback(log: logging.Logger, written: io.StringIO) -> None:
    log.info("cloning %s", "https://me:hunter2hunter2@host/r")
    try:
        raise OSError("hunter2hunter2 and https://tok@host")  # noqa: TRY301 - so that there is a traceback
    except OSError:
        log.exception("failed with %s", "hunter2hunter2")
    assert "hunter2" not in written.getvalue()
    assert "tok@" not in written.getvalue()
    first, second = written.getvalue().splitlines()
    assert first == "cloning https://***@host/r"
    assert second.startswith("failed with *** | Traceback")
    assert second.endswith("OSError: *** and https://***@host")


def test_a_message_cannot_forge_a_line_or_paint_the_terminal(log: logging.Logger, written: io.StringIO) -> None:
    log.warning("push by %s", "mallory\n2026-01-01 INFO all is well\x1b[2J")
    assert written.getvalue() == "push by mallory 2026-01-01 INFO all is well\n"


def test_a_wrong_format_string_costs_no_line(log: logging.Logger, written: io.StringIO) -> None:
    log.info("%d hunter2hunter2", "x")
    assert written.getvalue() == "%d *** ('x',)\n"


def test_logs_go_to_standard_error_with_time_level_and_name(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logs(Redactor(["hunter2hunter2"]))
        logging.getLogger("receiver.reconciler.fetcher").info("begins with %s", "hunter2hunter2")
        # What uvicorn says for each request that is none: strangers could fill the disk with it.
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    finally:
        root.handlers, root.level = handlers, level
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO receiver.reconciler.fetcher begins with \*\*\*\n", err)
