"""wrk: how it is run, and what it says."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "post.lua"
PATIENCE_SECONDS = 20  # for the slowest answer


class BenchError(Exception):
    """This can't be measured here, and why."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk saw."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int  # connections, time-outs, and statuses past 399

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Shot:
    """What is asked, how, and for how long."""

    url: str
    body: Path
    connections: int
    seconds: float


def require_programs() -> None:
    """BenchError: wrk or taskset is missing."""
    for program, package in (("wrk", "wrk"), ("taskset", "util-linux")):
        if shutil.which(program) is None:
            raise BenchError(f"{program} is missing: on Debian and Ubuntu, `apt-get install -y {package}`")


def parse(output: str) -> Load:
    """The line of JSON that post.lua ends with. BenchError: there is none, or nothing was answered, or not well."""
    lines = [line for line in output.splitlines() if line.startswith('{"requests"')]
    if not lines:
        raise BenchError(f"wrk gave no result, but said: {output.strip()[-300:]!r}")
    load = Load(**json.loads(lines[-1]))
    if load.failed or not load.requests:
        raise BenchError(f"of {load.requests + load.failed} requests, {load.failed} failed")
    return load


def shoot(shot: Shot, core: int) -> Load:
    """Run wrk with one thread on one core. Its time is whole seconds; BenchError: as for :func:`parse`."""
    argv = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{shot.connections}", f"-d{max(1, round(shot.seconds))}s"]
    done = subprocess.run(
        [*argv, "--timeout", f"{PATIENCE_SECONDS}s", "-s", str(SCRIPT), shot.url],
        env={**os.environ, "BENCH_BODY": str(shot.body)},
        capture_output=True,
        text=True,
        check=False,
        timeout=shot.seconds + 2 * PATIENCE_SECONDS,
    )
    return parse(done.stdout + done.stderr)
