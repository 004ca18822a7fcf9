"""Entry point of ``pinrail`` and ``python -m receiver``: the one place where errors become exit codes.

0 done, 1 refused or failed with a reason, 2 usage (the argument parser's own), 3 a bug.
"""

import os
import sys
import traceback

from ml.errors import MlError
from receiver.core.errors import PinrailError
from receiver.core.redact import plain_lines

INTERRUPTED = 130  # the shell's convention for Ctrl-C


def main() -> None:
    """Run the command line and exit."""
    from receiver.cli.app import app

    os.umask(0o077)  # what it writes is for its user alone
    try:
        app()
    except (PinrailError, MlError) as error:
        print(f"pinrail: {plain_lines(str(error))}", file=sys.stderr)  # noqa: T201 - this is a command line
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception:  # noqa: BLE001 - the boundary: whatever gets here is a bug
        traceback.print_exc()
        print("pinrail: this is a bug in Pinrail; please report the lines above", file=sys.stderr)  # noqa: T201
        sys.exit(3)


if __name__ == "__main__":
    main()
