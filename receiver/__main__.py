"""Entry point of ``pinrail`` and ``python -m receiver``: the one place where errors become exit codes.

0 done, 1 refused or failed with a reason, 2 usage (the argument parser's own), 3 a bug.
"""

import errno
import sys
import traceback
from typing import Literal, NoReturn

from ml.errors import MlError
from receiver.adapters.hidden import hide_process
from receiver.cli.failure import FailureView, TimeUp, fail
from receiver.core.errors import PinrailError, Retryable

INTERRUPTED = 130  # the shell's convention for Ctrl-C

_RIGHTS = "run this as the user whose receiver has that directory, make it writable, or set PINRAIL_STATE_DIR"
_SPACE = "free some disk space"
_FILES = "raise the limit of open files (`ulimit -n`)"
# What the machine refuses, whoever asks for it: no bug of ours.
OUTSIDE = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _SPACE),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _FILES),
    errno.ENOTDIR: "set PINRAIL_STATE_DIR to a directory",
    errno.EIO: "look at the disk: the system's log says more",
}


def main() -> None:
    """Run the command line and exit."""
    from receiver.cli.app import UsageError, app

    hide_process()
    try:
        # What typer does by itself is to print text about a wrong command line.
        code = app(prog_name="pinrail", standalone_mode="--json" not in sys.argv)
        sys.exit(code if isinstance(code, int) else 0)
    except UsageError as error:
        usage = error.ctx.get_usage() if error.ctx is not None else ""
        fail(FailureView("usage", error.format_message(), usage), 2)
    except TimeUp as error:
        fail(FailureView("timeout", str(error), ""), 1)
    except (PinrailError, MlError) as error:
        kind: Literal["retryable", "rejected"] = "retryable" if isinstance(error, Retryable) else "rejected"
        fail(FailureView(kind, str(error), getattr(error, "hint", "")), 1)
    except OSError as error:
        if error.errno not in OUTSIDE:
            _report_bug(error)
        place = f"{error.filename}: " if error.filename else ""
        fail(FailureView("machine", f"{place}{error.strerror}: {OUTSIDE[error.errno]}", ""), 1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the boundary: whatever gets here is a bug
        _report_bug(error)


def _report_bug(error: Exception) -> NoReturn:
    fail(FailureView("bug", f"{type(error).__name__}: {error}", traceback.format_exc()), 3)


if __name__ == "__main__":
    main()
