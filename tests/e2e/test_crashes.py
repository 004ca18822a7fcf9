"""kill -9 at every boundary of the journal, with real processes: registry, servers and record agree after a restart.

The boundaries are enumerated from the code: a new kind of action is covered as soon as a plan contains it.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest

from receiver.core.deployment import Outcome
from receiver.core.plan import ActionKind
from receiver.core.state import Role
from tests.support.crashing import Crash, Moment
from tests.support.models import Versions, register_artifact_only
from tests.support.process_target import COMMAND, kill_replica
from tests.support.world import Watcher, World, wait_for_death

# Around every action, and around the closing entry (None). These versions need no packages: for INSTALL, see
# test_model_packages.py.
BOUNDARIES: list[tuple[ActionKind | None, Moment]] = [
    *product((kind for kind in ActionKind if kind is not ActionKind.INSTALL), Moment),
    (None, Moment.BEFORE_ACTING),
    (None, Moment.AFTER_RESULT),
]
# A rollback finds the old server warm, so nothing is started.
BOUNDARIES_BACK = [b for b in BOUNDARIES if b[0] is not ActionKind.START]


# Two chains of crashes for each, so that they can run side by side.
halves = pytest.mark.parametrize("half", [0, 1])
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def promoted_and_killed(
    world: World, pins: Sequence[int], half: int
) -> Iterator[tuple[int, ActionKind | None, Moment]]:
    """A chain: each receiver recovers from the crash before it, is given the next promotion, and dies in it.

    Yields the turn and where it died, while no receiver runs; the last receiver has it all in order.
    """
    now = pins[1]
    for turn, (kind, moment) in enumerate(BOUNDARIES[half::2]):
        now, before = pins[turn % 2], pins[(turn + 1) % 2]
        with world.receiver(Crash(kind, moment, now)) as process:
            world.settle(before)
            world.merge(now)
            wait_for_death(process)
        yield turn, kind, moment
    with world.receiver():
        world.settle(now)


@halves
def test_killed_anywhere_in_a_promotion_it_serves_the_newest_pin_after_a_restart(
    half: int, tmp_path: Path, versions: Versions
) -> None:
    pins = [versions.better, versions.good]
    with World(tmp_path, versions, stabilise_seconds=0.2) as world:
        world.bring_up(versions.good)
        with Watcher(world) as watcher:
            for _, kind, moment in promoted_and_killed(world, pins, half):
                assert world.health()["version"] in pins, f"{kind}, {moment}"
    assert set(watcher.versions) == {versions.good, versions.better}
    assert watcher.failures == []


@halves
def test_killed_anywhere_in_a_promotion_of_two_replicas_both_serve_the_newest_pin_after_a_restart(
    half: int, tmp_path: Path, mlflow_server: str
) -> None:
    versions = register_artifact_only(mlflow_server, f"replicas-{half}")
    pins = [versions.better, versions.good]
    with World(tmp_path, versions, 0.2, COMMAND, replicas=2) as world:
        world.bring_up(versions.good)
        with Watcher(world) as watcher:
            for turn, _, _ in promoted_and_killed(world, pins, half):
                if turn % 3 == 0:  # and one of them ends while no receiver runs
                    kill_replica(world.state, next(s for s in world.servers() if s.role is Role.LIVE), 1)
    assert set(watcher.versions) == {versions.good, versions.better}
    assert watcher.failures == []


@halves
def test_killed_anywhere_while_rolling_back_it_serves_the_last_good_version_after_a_restart(
    half: int, tmp_path: Path, mlflow_server: str
) -> None:
    """With servers that are as real, but for the model in them: a broken one would load for seconds each time."""
    versions = register_artifact_only(mlflow_server, f"crashes-{half}")
    servers = (*COMMAND, f"--tiring={versions.tiring}")
    with World(tmp_path, versions, 0.2, servers) as world:
        world.bring_up(versions.good)
        with Watcher(world) as watcher:
            for kind, moment in BOUNDARIES_BACK[half::2]:
                with world.receiver(Crash(kind, moment, versions.tiring, rolling_back=True)) as process:
                    world.settle(versions.good)
                    world.lift()
                    world.merge(versions.tiring)
                    wait_for_death(process)
            with world.receiver():
                world.settle(versions.good)
        assert Outcome.NEEDS_HUMAN not in {d.state for d in world.deployments()}
    assert set(watcher.versions) <= {versions.good, versions.tiring}
    assert watcher.failures == []
