"""``python -m tests.bench [SECTION ...] [--quick]``: measure, print, and write docs/benchmarks.md."""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from tests.bench.environments import ROOT
from tests.bench.page import TITLES, machine, merged
from tests.bench.wrk import BenchError

PAGE = ROOT / "docs/benchmarks.md"


# Each imports its section when it is its turn: serving goes first, before MLflow and numpy are in this process.
def _serving(options: argparse.Namespace) -> str:
    from tests.bench import serving_section

    rounds = 1 if options.quick else options.rounds
    return serving_section.render(serving_section.measure(rounds, 1 if options.quick else options.seconds))


def _profile(options: argparse.Namespace) -> str:
    from tests.bench import profile_section

    return profile_section.render(profile_section.measure(2 if options.quick else 8))


def _log(options: argparse.Namespace) -> str:
    from tests.bench import log_section

    return log_section.render(log_section.measure(2 if options.quick else 20))


def _swap(options: argparse.Namespace) -> str:
    from tests.bench import swap_section

    return swap_section.render(*swap_section.measure(*((4, 100) if options.quick else (20, 1000))))


def _reconcile(options: argparse.Namespace) -> str:
    from tests.bench import reconcile_section

    return reconcile_section.render(reconcile_section.measure(1000, 2 if options.quick else 10))


def _waiting(options: argparse.Namespace) -> str:
    from tests.bench import waiting_section

    return waiting_section.render(waiting_section.measure(5 if options.quick else 30))


def _beside(options: argparse.Namespace) -> str:
    from tests.bench import beside_section

    return beside_section.render(beside_section.measure(1 if options.quick else 2))


def _replicas(options: argparse.Namespace) -> str:
    from tests.bench import replicas_section

    return replicas_section.render(replicas_section.measure(2 if options.quick else 15))


SECTIONS: Mapping[str, Callable[[argparse.Namespace], str]] = {
    "serving": _serving,
    "profile": _profile,
    "log": _log,
    "replicas": _replicas,
    "swap": _swap,
    "reconcile": _reconcile,
    "waiting": _waiting,
    "beside": _beside,
}


def main() -> int:
    """0: measured and written, whether goals are met or not; 1: some section could not be measured; 2: usage."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(TITLES)}; all of them where none is named")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it works")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of serving (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement of serving (%(default)s)")
    parser.add_argument("--dry", action="store_true", help="print, and leave docs/benchmarks.md alone")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}: choose of {', '.join(TITLES)}")
    found, failed = {}, False
    for name in [name for name in SECTIONS if name in options.sections or not options.sections]:
        began = time.monotonic()
        load = os.getloadavg()[0]
        try:
            text = SECTIONS[name](options)
        except Exception as error:  # noqa: BLE001 - one section that fails must not lose what the others measured
            if not isinstance(error, BenchError):
                traceback.print_exc()
            sys.stderr.write(f"{name} could not be measured: {error}\n")
            failed = True
            continue
        quick = " **A quick run: only to see that it works.**" if options.quick else ""
        when = f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC in {time.monotonic() - began:.0f} s on {machine()}"
        found[name] = f"{when}; load average before it: {load:.1f}.{quick}\n\n{text}"
        sys.stdout.write(f"\n## {TITLES[name]}\n\n{found[name]}\n")
        sys.stdout.flush()
    if found and not options.dry:
        PAGE.write_text(merged(PAGE.read_text() if PAGE.exists() else "", found))
        sys.stdout.write(f"\nwritten to {PAGE.relative_to(ROOT)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
