"""Many models in one receiver: how long they take side by side, and one after another."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from receiver.adapters.mlflow.local_server import running_mlflow
from receiver.targets.process.records import ServerRecords
from tests.bench.figures import at_most, goals, number, table
from tests.support.models import Versions, register_versions, registered_again
from tests.support.ports import free_port
from tests.support.waiting import eventually
from tests.support.world import World

REBOOTED, BUMPED = 8, 20
WATCH_SECONDS = 10.0
PATIENCE = 600.0
ONE_AFTER_ANOTHER = "1"


@dataclass(frozen=True, slots=True)
class Beside:
    """All in seconds."""

    together: float  # after a reboot, until the last model answers
    one_by_one: float  # the same with PINRAIL_PARALLEL=1
    answering: float  # from the push of all new versions to the last new one answering
    live: float  # to the last one verified, watch included


class ManyModels(World):
    """One environment with several models, which are pinned and pushed together."""

    def __init__(self, directory: Path, versions: Versions, models: int) -> None:
        super().__init__(directory, versions, WATCH_SECONDS)
        self.ports = {f"bench-{nth}": free_port() for nth in range(models)}
        for model in self.ports:
            registered_again(versions, model)

    def commit(self, version: int) -> str:
        """Pin a version of every model."""
        pins = "".join(f"  {m}: {{version: {version}, port: {port}}}\n" for m, port in self.ports.items())
        text = (
            "environment: staging\nregistry: {stage: Staging, alias: staging}\n"
            f"gate: {{}}\nmodels:\n{pins}# {time.monotonic()}\n"
        )
        return self.origin.commit({"environments/staging.yaml": text})

    def answer(self, version: int) -> bool:
        """Every model's port answers as this version."""
        return all(self._answers(port) == version for port in self.ports.values())

    def _answers(self, port: int) -> int | None:
        try:
            return int(self.health(port)["version"])
        except OSError:
            return None

    def are_verified(self, version: int) -> bool:
        """Every model's version is recorded as verified."""
        found = self.journal.verified()
        return len(found) == len(self.ports) and all(was.version == version for was in found.values())

    def kill_all(self) -> None:
        """End every server as a power cut does."""
        records = ServerRecords(self.state)
        for record in records.all():
            if record.pid is not None:
                os.kill(record.pid, signal.SIGKILL)
        eventually(lambda: not any(records.alive(record) for record in records.all()), 30)


def measure(rounds: int) -> Beside:
    """With real model servers: reboots in turn with and without a bound of one, then one bump of all pins.

    More than two rounds would measure the pauses before a server that ends again and again is started.
    """
    with tempfile.TemporaryDirectory() as scratch, running_mlflow(Path(scratch) / "mlflow") as url:
        versions = register_versions(url, "bench", Path(scratch))
        sys.stderr.write(f"{REBOOTED} models come up after a reboot\n")
        starts = _reboots(Path(scratch) / "reboot", versions, rounds)
        sys.stderr.write(f"{BUMPED} models are bumped in one commit\n")
        answering, live = _bump(Path(scratch) / "bump", versions)
    return Beside(median(starts[""]), median(starts[ONE_AFTER_ANOTHER]), answering, live)


def _reboots(directory: Path, versions: Versions, rounds: int) -> Mapping[str, list[float]]:
    directory.mkdir()
    found: dict[str, list[float]] = {"": [], ONE_AFTER_ANOTHER: []}
    with ManyModels(directory, versions, REBOOTED) as world:
        world.environ["PINRAIL_STABILISE_SECONDS"] = "0.2"
        _bring_up(world, versions.good)
        for _ in range(rounds):
            for parallel, seconds in found.items():
                world.environ |= {"PINRAIL_PARALLEL": parallel} if parallel else {}
                world.kill_all()
                with world.program():
                    seconds.append(_took(lambda: world.answer(versions.good)))
                world.environ.pop("PINRAIL_PARALLEL", None)
    return found


def _bump(directory: Path, versions: Versions) -> tuple[float, float]:
    directory.mkdir()
    with ManyModels(directory, versions, BUMPED) as world:
        _bring_up(world, versions.good)
        with world.program():
            eventually(lambda: world.answer(versions.good), PATIENCE)
            world.commit(versions.better)
            assert world.push() == 202
            answering = _took(lambda: world.answer(versions.better))
            return answering, answering + _took(lambda: world.are_verified(versions.better))


def _bring_up(world: ManyModels, version: int) -> None:
    world.commit(version)
    with world.program():
        eventually(lambda: world.are_verified(version), PATIENCE)


def _took(condition: Callable[[], object]) -> float:
    began = time.monotonic()
    eventually(condition, PATIENCE)
    return time.monotonic() - began


def render(found: Beside) -> str:
    """Goals and a table as Markdown."""
    wanted = [
        at_most(
            f"{REBOOTED} models after a reboot: to one after another", 0.5, found.together / found.one_by_one, "x"
        ),
        at_most(f"{BUMPED} models bumped in one commit, {WATCH_SECONDS:g} s watch: live", 60, found.live, "s"),
    ]
    rows = [
        (f"{REBOOTED} models after a reboot, until all answer", f"{number(found.together)} s"),
        ("the same, PINRAIL_PARALLEL=1", f"{number(found.one_by_one)} s"),
        (f"{BUMPED} models bumped in one commit, until all new versions answer", f"{number(found.answering)} s"),
        ("the same, until all are verified", f"{number(found.live)} s"),
    ]
    note = (
        "Process target, real model servers. Reboots are medians, in turn with and without the bound; they begin when"
    )
    return f"{goals(wanted)}\n\n{table(('side by side', 'measured'), rows)}\n\n{note} the receiver listens."
