"""The report: a line per check, or the same as JSON."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from receiver.cli.doctor.check import Check


def report(checks: Sequence[Check], *, as_json: bool) -> int:
    """Print the checks. Returns the exit code: 0 where all is well, else 1."""
    well = all(check.ok for check in checks)
    if as_json:
        text = json.dumps({"ok": well, "checks": [asdict(check) for check in checks]}, indent=2)
    else:
        text = "\n".join(line for check in checks for line in _lines(check))
    sys.stdout.write(text + "\n")
    return 0 if well else 1


def _lines(check: Check) -> Sequence[str]:
    line = f"{'ok' if check.ok else 'NOT OK':<8}{check.name:<18}{check.found}"
    advice = f"{'':<8}{'':<18}{'may' if check.ok else 'do'}: {check.todo}"
    return (line, advice) if check.todo else (line,)
