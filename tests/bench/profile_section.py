"""Where the time of a request goes: the server under load, looked at from outside hundreds of times a second.

py-spy samples the real process while wrk asks it. Each sample belongs to the stage of the innermost function that a
stage claims; how long a stage takes is its share of the processor time that a request costs.
"""

import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.bench.environments import binaries, install
from tests.bench.figures import number, table
from tests.bench.peers import CEILING, PINRAIL, Peer
from tests.bench.running import running
from tests.bench.serving_section import write_body
from tests.bench.subject import ROWS, prepared
from tests.bench.wrk import BenchError, Shot, require_programs, shoot

RATE = 400  # samples per second; more would slow what is measured
START_SECONDS = 2.0  # of py-spy

LOOP = "event loop, and the kernel's part of reading"
# The first that fits the innermost frame wins; a frame that none fits leaves it to its caller.
STAGES: Mapping[str, re.Pattern[str]] = {
    "read and check the request": re.compile(r"decode \(serving/|parse_json|serving/model/(decoder|schema)\.py"),
    "write the answer": re.compile(r"encode \(serving/"),
    "ask the model": re.compile(r"onnxruntime/|serving/model/(runtimes/|predict)"),
    "queue": re.compile(r"serving/batcher\.py"),
    "count for /metrics": re.compile(r"serving/metrics\.py"),
    "HTTP, and the kernel's part of writing": re.compile(r"uvicorn/|apps/|constant\.py|serving/"),
    LOOP: re.compile(r"asyncio/runners\.py"),
}


@dataclass(frozen=True, slots=True)
class Profile:
    """What one kind of request costs."""

    microseconds: float  # of processor time for one request
    shares: Mapping[str, float]  # by stage


def stage(frames: Iterable[str]) -> str | None:
    """The stage that a sample belongs to; frames from the outermost to the innermost. None: another thread's."""
    inwards = list(frames)
    if not any("asyncio/runners.py" in frame for frame in inwards):
        return None
    return next(name for frame in reversed(inwards) for name, pattern in STAGES.items() if pattern.search(frame))


def shares(samples: str) -> Mapping[str, float]:
    """Each stage's share of the samples, which are lines of frames and a count. BenchError: there are too few."""
    found: Counter[str] = Counter()
    for line in samples.splitlines():
        frames, _, count = line.rpartition(" ")
        if name := stage(frames.split(";")):
            found[name] += int(count)
    if found.total() < RATE / 4:
        raise BenchError(f"py-spy saw the server only {found.total()} times: may it look at other processes here?")
    return {name: found[name] / found.total() for name in STAGES}


def measure(seconds: float) -> Mapping[str, Profile]:
    """Profile single rows, batches, and the constant answer. BenchError: that can't be done here."""
    require_programs()
    install("profile")
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as scratch:
        subject = prepared(Path(scratch))

        def profile(peer: Peer, rows: int, connections: int) -> Profile:
            body = write_body(peer, subject, rows)
            with running(peer, subject, cores[0]) as server:
                shoot(Shot(server.url, body, connections, 1), cores[-1])  # warm
                before = _cpu_seconds(server.session)
                load = shoot(Shot(server.url, body, connections, seconds), cores[-1])
                cost = (_cpu_seconds(server.session) - before) / load.requests
                longer = Shot(server.url, body, connections, seconds + START_SECONDS)
                with ThreadPoolExecutor(1) as pool:
                    shooting = pool.submit(shoot, longer, cores[-1])
                    samples = _sampled(server.session, seconds, cores[-1])
                    shooting.result()
                return Profile(1e6 * cost, shares(samples))

        return {
            "constant answer": profile(CEILING, 1, 16),
            "one row": profile(PINRAIL, 1, 16),
            f"{ROWS:,} rows": profile(PINRAIL, ROWS, 1),
        }


def _sampled(pid: int, seconds: float, core: int) -> str:
    """What py-spy saw, as lines of frames and a count. BenchError: it saw nothing."""
    with tempfile.NamedTemporaryFile() as output:
        argv = ["taskset", "-c", str(core), str(binaries("profile") / "py-spy"), "record", "--pid", str(pid)]
        how = ["--rate", str(RATE), "--duration", str(round(seconds)), "--format", "raw", "--output", output.name]
        done = subprocess.run(
            [*argv, *how], capture_output=True, text=True, check=False, timeout=seconds + 10 * START_SECONDS
        )
        if done.returncode:
            raise BenchError(f"py-spy can't look at the server: {done.stderr.strip()[-300:]}")
        return Path(output.name).read_text()


def _cpu_seconds(pid: int) -> float:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def render(found: Mapping[str, Profile]) -> str:
    """What each kind of request costs, by stage, as a Markdown table."""
    head = ["microseconds of processor time", *(f"{name}" for name in found)]
    rows = [
        [name, *(number(profile.microseconds * profile.shares[name]) for profile in found.values())]
        for name in STAGES
    ]
    total = ["in all", *(number(profile.microseconds) for profile in found.values())]
    return table(head, [*rows, total])
