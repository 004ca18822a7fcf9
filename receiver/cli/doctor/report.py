"""The report: a line per check, or the same as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from receiver.cli.doctor.check import Check
from receiver.cli.output import answer


@dataclass(frozen=True, slots=True)
class ReportView:
    """All checks of a set-up: ``pinrail doctor --json``."""

    ok: bool
    """Whether all of them are ok."""
    checks: Sequence[Check]


def report(checks: Sequence[Check], *, as_json: bool) -> int:
    """Print the checks. Returns the exit code: 0 if all are ok, else 1."""
    view = ReportView(all(check.ok for check in checks), checks)
    answer(view, _text, json_wanted=as_json)
    return 0 if view.ok else 1


def _text(view: ReportView) -> str:
    return "".join(f"{line}\n" for check in view.checks for line in _lines(check))


def _lines(check: Check) -> Iterator[str]:
    yield f"{'ok' if check.ok else 'NOT OK':<8}{check.name:<18}{check.found}"
    if check.todo:
        yield f"{'':<8}{'':<18}{'may' if check.ok else 'do'}: {check.todo}"
