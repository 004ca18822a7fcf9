"""What the inference log costs: one server with it and one without, asked in turns of a second."""

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from serving.inference_log.segment import SUFFIX, read
from tests.bench.figures import at_least, at_most, goals, number, table
from tests.bench.peers import PINRAIL
from tests.bench.running import cpu_seconds, megabytes, running
from tests.bench.serving_section import write_body
from tests.bench.subject import prepared
from tests.bench.wrk import BenchError, Shot, require_programs, shoot

CONNECTIONS = (1, 16)
OFF, ON = "without", "with the log"


@dataclass(frozen=True, slots=True)
class Turn:
    """One second of one server."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # of the server, per request


@dataclass(frozen=True, slots=True)
class Cost:
    """Both servers' turns, in pairs; what was recorded, and what they needed of memory after it, in MB."""

    turns: Mapping[tuple[str, int], Sequence[Turn]]  # by server and connections
    recorded: int
    record_bytes: float
    megabytes: Mapping[str, float]

    def ratio(self, connections: int, value: str) -> float:
        """The median over the pairs of with to without."""
        pairs = zip(self.turns[ON, connections], self.turns[OFF, connections], strict=True)
        return median(getattr(on, value) / getattr(off, value) for on, off in pairs)


def measure(rounds: int) -> Cost:
    """Ask both in turn, and let each go first as often. BenchError: nothing can be measured here."""
    require_programs()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("one core for the server and another for wrk are needed")
    turns: dict[tuple[str, int], list[Turn]] = {}
    recorded = size = 0
    with tempfile.TemporaryDirectory() as scratch:
        subject, directory = prepared(Path(scratch)), Path(scratch) / "log"
        directory.mkdir()
        more = ("--log={}", f"--log-directory={directory}")
        logging = replace(PINRAIL, command=lambda *given: (*PINRAIL.command(*given), *more))
        body = write_body(PINRAIL, subject, 1)
        with running(PINRAIL, subject, cores[0]) as off, running(logging, subject, cores[0]) as on:
            servers = {OFF: off, ON: on}
            for server in servers.values():
                shoot(Shot(server.url, body, CONNECTIONS[-1], 1), cores[-1])
            for connections in CONNECTIONS:
                for turn in range(rounds):
                    sys.stderr.write(f"inference log: {connections} connections, turn {turn + 1} of {rounds}\n")
                    for name in (OFF, ON) if turn % 2 else (ON, OFF):
                        began = cpu_seconds(servers[name].session)
                        load = shoot(Shot(servers[name].url, body, connections, 1), cores[-1])
                        spent = (cpu_seconds(servers[name].session) - began) / load.requests * 1e6
                        found = Turn(load.per_second, load.p50_ms, load.p99_ms, spent)
                        turns.setdefault((name, connections), []).append(found)
                    for segment in directory.glob(f"[!.]*{SUFFIX}"):  # as a receiver would
                        size += segment.stat().st_size
                        recorded += len(read(segment.read_bytes())[1])
                        segment.unlink()
            needed = {name: megabytes(server.session) for name, server in servers.items()}
    if not recorded:
        raise BenchError("nothing was recorded")
    return Cost(turns, recorded, size / recorded, needed)


def render(cost: Cost) -> str:
    """Goals and table as Markdown."""
    busy = CONNECTIONS[-1]
    wanted = goals(
        [
            at_least(
                f"answers per second, {busy} connections: to those without", 0.9, cost.ratio(busy, "per_second")
            ),
            at_most("p99, 1 connection: to that without", 1.1, cost.ratio(1, "p99_ms"), "x"),
        ]
    )
    rows = [
        [name, number(connections), *(number(median(getattr(turn, value) for turn in found)) for value in VALUES)]
        for (name, connections), found in sorted(cost.turns.items())
    ]
    head = ("server", "connections", "answers/s", "p50 ms", "p99 ms", "CPU us/request")
    said = (
        f"Ratios are medians over {len(cost.turns[ON, busy])} pairs of a second each, on one core. A server records"
        f" up to 1,000 requests per second. {cost.recorded:,} records of {cost.record_bytes:,.0f} bytes; memory"
        f" {cost.megabytes[OFF]:,.0f} MB without and {cost.megabytes[ON]:,.0f} MB with the log."
    )
    return "\n\n".join([wanted, table(head, rows), said])


VALUES = ("per_second", "p50_ms", "p99_ms", "cpu_us")
