"""Pinrail and its peers: one model, one core, the same questions, in rounds so that all have the same weather."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.environments import install
from tests.bench.figures import at_least, at_most, chart, goals, number, ratio, table
from tests.bench.peers import CEILING, FASTAPI_TUNED, MLFLOW, PEERS, PINRAIL, Peer
from tests.bench.running import Running, ask, megabytes, running
from tests.bench.subject import ROWS, Subject, prepared
from tests.bench.wrk import BenchError, Load, Shot, require_programs, shoot

NAMES = [peer.name for peer in PEERS]
BUDGET_SECONDS = 330.0  # no round is begun that would probably end later

# Not servers that somebody would choose instead; shown, and not what "the best peer" means.
APART = (PINRAIL.name, CEILING.name, FASTAPI_TUNED.name)


@dataclass(frozen=True, slots=True)
class Round:
    """One server, started, measured and ended once."""

    one: Load  # single rows, one connection
    sixteen: Load  # single rows, sixteen connections
    batch: Load  # ROWS rows, one connection
    cold_start: float  # seconds
    memory: float  # MB, after all that


@dataclass(frozen=True, slots=True)
class Measured:
    """All rounds of all servers, and why some have none."""

    rounds: Mapping[str, Sequence[Round]]
    missing: Mapping[str, str]

    def median(self, name: str, value: Callable[[Round], float]) -> float | None:
        """The median over a server's rounds."""
        return median(map(value, self.rounds[name])) if self.rounds.get(name) else None


def measure(rounds: int, seconds: float) -> Measured:
    """Install, prepare, and go round. BenchError: nothing at all can be measured here."""
    require_programs()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("one core for the server and another for wrk are needed")
    found: dict[str, list[Round]] = {}
    missing = _install()
    with tempfile.TemporaryDirectory() as scratch:
        subject = prepared(Path(scratch))
        began = time.monotonic()
        for turn in range(1, rounds + 1):
            if (time.monotonic() - began) * turn > BUDGET_SECONDS * (turn - 1) and turn > 1:
                sys.stderr.write(f"round {turn} would take longer than there is time: {turn - 1} must do\n")
                break
            for peer in PEERS:
                if peer.name in missing:
                    continue
                sys.stderr.write(f"round {turn} of {rounds}: {peer.name}\n")
                try:
                    with running(peer, subject, cores[0]) as server:
                        found.setdefault(peer.name, []).append(_round(peer, subject, server, seconds, cores[-1]))
                except Exception as error:  # noqa: BLE001 - a peer that fails must not take the others along
                    sys.stderr.write(f"{peer.name}: {error}\n")
                    missing[peer.name] = (str(error) or repr(error)).splitlines()[0]
    return Measured(found, missing)


def _install() -> dict[str, str]:
    missing = {}
    for peer in PEERS:
        if peer.environment:
            try:
                install(peer.environment)
            except BenchError as error:
                sys.stderr.write(f"{peer.name}: {error}\n")
                missing[peer.name] = str(error).splitlines()[0]
    return missing


def _round(peer: Peer, subject: Subject, server: Running, seconds: float, core: int) -> Round:
    single, batch = (write_body(peer, subject, rows) for rows in (1, ROWS))
    if peer.labels is not None:
        _insist(peer.labels(server.answer), subject.labels[:1])
        _insist(peer.labels(ask(server.port, peer.path, batch.read_bytes())), subject.labels)
    shoot(Shot(server.url, single, 16, 1), core)  # warm
    return Round(
        one=shoot(Shot(server.url, single, 1, seconds), core),
        sixteen=shoot(Shot(server.url, single, 16, seconds), core),
        batch=shoot(Shot(server.url, batch, 1, seconds), core),
        cold_start=server.cold_start,
        memory=megabytes(server.session),
    )


def write_body(peer: Peer, subject: Subject, rows: int) -> Path:
    """The file with a request for so many rows, as this server takes them."""
    path = subject.place / f"body-{rows}.json"
    path.write_text(json.dumps(peer.body(subject.rows[:rows])))
    return path


def _insist(said: Sequence[object], expected: Sequence[int]) -> None:
    flat = [label[0] if isinstance(label, list) else label for label in said]
    if flat != list(expected):
        wrong = sum(a != b for a, b in zip(flat, expected, strict=False)) + abs(len(flat) - len(expected))
        raise BenchError(f"it is not measured, because {wrong} of {len(expected)} answers differ from the model's")


def render(measured: Measured) -> str:
    """Goals, chart and table as Markdown."""
    parts = [_goals(measured)]
    bars = {name: measured.median(name, _sixteen) for name in NAMES}
    bars_there = {name: value for name, value in bars.items() if value is not None}
    if bars_there:
        parts += ["Single rows at concurrency 16, answers per second:", chart(bars_there, "/s")]
    parts += [_table(measured), _ranges(measured)]
    if measured.missing:
        parts.append("\n".join(f"- {name} was not measured: {why}" for name, why in measured.missing.items()))
    return "\n\n".join(parts)


def _sixteen(found: Round) -> float:
    return found.sixteen.per_second


def _batch(found: Round) -> float:
    return found.batch.per_second * ROWS


def _best(measured: Measured, value: Callable[[Round], float]) -> tuple[str, float | None]:
    found = {n: measured.median(n, value) for n in NAMES if n not in APART}
    there = {name: figure for name, figure in found.items() if figure is not None}
    name = max(there, key=lambda n: there[n], default="none")
    return name, there.get(name)


def _goals(measured: Measured) -> str:
    def of(value: Callable[[Round], float], name: str = PINRAIL.name) -> float | None:
        return measured.median(name, value)

    single, best_single = _best(measured, _sixteen)
    batch, best_batch = _best(measured, _batch)
    share = ratio(of(_sixteen), of(_sixteen, CEILING.name))
    p99, floor = of(lambda r: r.one.p99_ms), of(lambda r: r.one.p99_ms, CEILING.name)
    cold = ratio(of(lambda r: r.cold_start), of(lambda r: r.cold_start, MLFLOW.name))
    memory = ratio(of(lambda r: r.memory), of(lambda r: r.memory, MLFLOW.name))
    tuned = ratio(of(_sixteen), of(_sixteen, FASTAPI_TUNED.name))
    table_of_goals = goals(
        [
            at_least(
                f"single rows, 16 connections: to the best peer ({single})", 130, ratio(of(_sixteen), best_single)
            ),
            at_least("the same, to the constant answer", 60, None if share is None else 100 * share, "%"),
            at_most(
                "p99, 1 connection: more than the constant answer's",
                2,
                None if p99 is None or floor is None else p99 - floor,
                "ms",
            ),
            at_least(f"batches of {ROWS:,} rows: to the best peer, {batch}", 5, ratio(of(_batch), best_batch)),
            at_most(f"cold start: to {MLFLOW.name}", 0.125, cold, "x"),
            at_most(f"memory: to {MLFLOW.name}", 0.25, memory, "x"),
        ]
    )
    if tuned is None:
        return table_of_goals
    return f"{table_of_goals}\n\nTo {FASTAPI_TUNED.name}, which is nobody's product: {number(tuned)} x."


def _table(measured: Measured) -> str:
    ours = measured.median(PINRAIL.name, _sixteen)
    head = ("server", "16 conn. /s", "Pinrail is", "p99 ms", "1 conn. /s", "p99 ms", "batch rows/s", "cold s", "MB")
    rows = []
    for name in NAMES:
        times = ratio(ours, measured.median(name, _sixteen))
        values = [
            measured.median(name, value)
            for value in (
                lambda r: r.sixteen.p99_ms,
                lambda r: r.one.per_second,
                lambda r: r.one.p99_ms,
                _batch,
                lambda r: r.cold_start,
                lambda r: r.memory,
            )
        ]
        first = [_shown(measured.median(name, _sixteen)), "-" if times is None else f"{number(times)} x"]
        rows.append([name, *first, *map(_shown, values)])
    return table(head, rows)


def _ranges(measured: Measured) -> str:
    """How far the rounds lie apart."""
    spreads = [
        f"{name} {number(min(map(_sixteen, found)))} to {number(max(map(_sixteen, found)))}"
        for name, found in measured.rounds.items()
    ]
    return f"Single rows per second at concurrency 16, over the rounds: {'; '.join(spreads)}." if spreads else ""


def _shown(value: float | None) -> str:
    return "-" if value is None else number(value)
