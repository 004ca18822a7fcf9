"""How a command fails: text on standard error or, with ``--json``, one JSON document on standard output."""

import json
import sys
from dataclasses import asdict, dataclass
from typing import Literal, NoReturn

from receiver.core.errors import Retryable
from receiver.core.redact import plain_lines

EXIT_CODES = {
    0: "done",
    1: "refused, failed or not done in the time of `--timeout`, with a reason",
    2: "usage: the command line is wrong",
    3: "a bug in Pinrail",
    130: "interrupted by Ctrl-C",
}
KINDS = {
    "rejected": "change what was asked for, as the message says",
    "retryable": "try again later: something outside did not answer",
    "machine": "mend this machine: rights, disk space, open files",
    "usage": "correct the command line: `pinrail COMMAND --help` shows what it takes",
    "timeout": "wait longer, or see `pinrail status`: what was waited for goes on",
    "bug": "report it, with the traceback that is the hint",
}


class TimeUp(Retryable):
    """``--timeout`` is over: nothing has failed, and what was waited for goes on."""


@dataclass(frozen=True, slots=True)
class FailureView:
    """Why a command failed."""

    kind: Literal["rejected", "retryable", "machine", "usage", "timeout", "bug"]
    """What to do next: change what was asked for, try again later, mend this machine, correct the command line, wait
    longer, or report a bug."""
    message: str
    """What was found, where, and what to do."""
    hint: str
    """More for the person at this machine; of a bug, the traceback. Often empty."""


@dataclass(frozen=True, slots=True)
class ErrorView:
    """What any command prints with ``--json`` if it fails: exit code 1, or 2 for usage, 3 for a bug, 4 for time."""

    error: FailureView


def fail(failure: FailureView, code: int) -> NoReturn:
    """Print the failure and exit."""
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(asdict(ErrorView(failure)), indent=2) + "\n")
    elif failure.kind == "bug":
        sys.stderr.write(f"{failure.hint}pinrail: this is a bug in Pinrail; please report the lines above\n")
    else:
        said = f"{failure.message}; {failure.hint}" if failure.hint else failure.message
        sys.stderr.write(f"pinrail: {plain_lines(said)}\n")
    sys.exit(code)
