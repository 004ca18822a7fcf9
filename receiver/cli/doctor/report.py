"""The report: a line per check, or the same as JSON."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from receiver.cli.doctor.check import Check
from receiver.cli.output import answer


@dataclass(frozen=True, slots=True)
class ReportView:
    """All checks of a set-up: ``pinrail doctor --json``."""

    ok: bool
    """Whether all of them are ok."""
    checks: Sequence[Check]


def report(checks: Iterable[Check], *, as_json: bool) -> int:
    """Print the checks, as text each as soon as it is there. Returns the exit code: 0 if all are ok, else 1."""
    done: list[Check] = []
    for check in checks:
        done.append(check)
        if not as_json:
            sys.stdout.write("".join(f"{line}\n" for line in _lines(check)))
            sys.stdout.flush()
    view = ReportView(all(check.ok for check in done), done)
    answer(view, lambda _: "", json_wanted=as_json)
    return 0 if view.ok else 1


def _lines(check: Check) -> Iterator[str]:
    yield f"{'ok' if check.ok else 'NOT OK':<8}{check.name:<18}{check.found}"
    if check.todo:
        yield f"{'':<8}{'':<18}{'may' if check.ok else 'do'}: {check.todo}"
