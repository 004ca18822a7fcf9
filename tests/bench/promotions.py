"""Promotions back and forth under load, through a real ``pinrail up``: what its promises are measured with.

``python -m tests.bench.promotions`` prints a table; tests/e2e/test_promises.py runs a few and insists on the zeros.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from receiver.adapters.mlflow.local_server import running_mlflow
from receiver.cli.demo.story import CUSTOMER
from receiver.core.plan import ActionKind
from tests.support.keepalive import Load, load
from tests.support.models import Versions, register_versions
from tests.support.waiting import eventually
from tests.support.world import World

CONNECTIONS = 16
BURSTS = 5


@dataclass(frozen=True)
class Swaps:
    """What clients saw during promotions back and forth."""

    promotions: int
    answers: int
    failures: list[str]
    wrong_version: int  # answers to requests sent after the switch, by the version before it
    seconds: list[float]  # push accepted -> first answer by the new version


@dataclass(frozen=True)
class Burst:
    """Very many deliveries while a deployment runs."""

    deliveries: int
    p50_ms: float
    p99_ms: float
    worst_p99_ms: float
    lost: int
    jobs: int


def swap(world: World, versions: Versions, promotions: int) -> Swaps:
    """Promote back and forth while 16 kept-alive connections ask for predictions."""
    seconds, wrong = [], 0
    pins = [versions.better, versions.good]
    with load(world.port, CONNECTIONS, "/predict", json.dumps(CUSTOMER).encode()) as seen:
        eventually(lambda: len(seen.answers) > CONNECTIONS, 20)
        for turn in range(promotions):
            now = pins[turn % 2]
            world.commit(now)
            assert world.push() == 202
            accepted = time.monotonic()
            seconds.append(_await_first(seen, now, accepted) - accepted)
            eventually(partial(_is_verified, world, now), 60)
            switched = _switched(world)
            wrong += sum(a.sent > switched and a.version != now for a in list(seen.answers))
    return Swaps(promotions, len(seen.answers), seen.failures, wrong, seconds)


def burst(world: World, versions: Versions, deliveries: int, concurrency: int = 50) -> Burst:
    """Send signed deliveries as fast as they go while a promotion runs."""
    jobs = "SELECT count(*) FROM jobs"
    before = world.database.connection().execute(jobs).fetchone()[0]
    now = versions.better if world.verified() == versions.good else versions.good
    world.commit(now)
    assert world.push() == 202
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).parent.parent / "support/burst.py"),
            world.environ["PINRAIL_PUBLIC_PORT"],
            str(deliveries),
            str(concurrency),
        ],
        capture_output=True,
        check=True,
        timeout=120,
    )
    said = json.loads(done.stdout)
    assert said["statuses"] == {"202": deliveries}, said["statuses"]
    eventually(partial(_is_verified, world, now), 60)
    eventually(world.idle, 60)
    kept = {row[0] for row in world.database.connection().execute("SELECT id FROM deliveries")}
    after = world.database.connection().execute(jobs).fetchone()[0]
    return Burst(deliveries, said["p50"], said["p99"], said["p99"], len(set(said["stored"]) - kept), after - before)


def together(bursts: Sequence[Burst]) -> Burst:
    """Several bursts as one: medians of what was timed, for one pause of the machine is most of a burst's p99."""
    return Burst(
        deliveries=sum(one.deliveries for one in bursts),
        p50_ms=median(one.p50_ms for one in bursts),
        p99_ms=median(one.p99_ms for one in bursts),
        worst_p99_ms=max(one.worst_p99_ms for one in bursts),
        lost=sum(one.lost for one in bursts),
        jobs=sum(one.jobs for one in bursts),
    )


def _await_first(seen: Load, version: int, since: float) -> float:
    """Wait for the first answer by a version, and say when it arrived."""

    def arrivals() -> list[float]:
        return [a.received for a in seen.answers[-5000:] if a.received >= since and a.version == version]

    eventually(arrivals, 60)
    return min(arrivals())


def _is_verified(world: World, version: int) -> bool:
    return world.verified() == version


def _switched(world: World) -> float:
    """When the last switch was over, on the monotonic clock."""
    offset = time.time() - time.monotonic()
    newest = world.deployments()[0].id
    steps = world.journal.steps(newest)
    return next(s.ended_at or 0.0 for s in steps if s.action.kind is ActionKind.SWITCH) - offset


def measured(promotions: int, deliveries: int) -> tuple[Swaps, Burst]:
    """Bring up an MLflow and a receiver for it, and see what clients and senders see."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_mlflow(Path(scratch) / "mlflow") as url,
    ):
        versions = register_versions(url, "bench-churn", Path(scratch))
        with World(Path(scratch), versions, stabilise_seconds=1.0) as world, world.program():
            world.commit(versions.good)
            world.push()
            eventually(lambda: world.verified() == versions.good, 60)
            swaps = swap(world, versions, promotions)
            return swaps, together([burst(world, versions, deliveries) for _ in range(BURSTS)])


def main() -> None:
    """Measure and print."""
    swaps, bursts = measured(20, 1000)
    rows = [
        ("promotions under load", swaps.promotions),
        ("answers meanwhile", swaps.answers),
        ("failed requests", len(swaps.failures)),
        ("answers by the old version after the switch", swaps.wrong_version),
        ("push accepted to new version answering, p50", f"{median(swaps.seconds):.2f} s"),
        ("push accepted to new version answering, max", f"{max(swaps.seconds):.2f} s"),
        ("deliveries during a deployment", bursts.deliveries),
        ("answered, p50", f"{bursts.p50_ms} ms"),
        ("answered, p99", f"{bursts.p99_ms} ms"),
        ("answered, p99 of the worst burst", f"{bursts.worst_p99_ms} ms"),
        ("deliveries lost", bursts.lost),
        ("jobs that they became", bursts.jobs),
    ]
    sys.stdout.write("\n".join(f"{name:50} {value}" for name, value in rows) + "\n")


if __name__ == "__main__":
    main()
