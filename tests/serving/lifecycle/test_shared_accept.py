"""How replicas count their connections for each other, also where one has ended or the disk is full."""

import resource
from pathlib import Path

from serving.lifecycle.shared_accept import ConnectionCounts


def counts(directory: Path, replica: int) -> ConnectionCounts:
    return ConnectionCounts(directory / f"staging-churn-model-1-0123abcd.{replica}.sock", replica, 2)


def test_one_in_the_place_of_one_that_ended_begins_with_none(tmp_path: Path) -> None:
    counts(tmp_path, 1).note(3)
    ended = counts(tmp_path, 2)
    ended.note(5)
    assert not ended.has_fewest()
    successor = counts(tmp_path, 2)
    successor.note(0)
    assert successor.has_fewest()


def test_who_has_fewest_connections_accepts_and_who_does_not_accept_is_not_waited_for(tmp_path: Path) -> None:
    one, two = counts(tmp_path, 1), counts(tmp_path, 2)
    one.note(2)
    assert one.has_fewest(), "the other does not accept yet"
    two.note(1)
    assert [each.has_fewest() for each in (one, two)] == [False, True]
    two.add_one()
    assert [each.has_fewest() for each in (one, two)] == [True, True]


def test_its_room_on_the_disk_is_reserved(tmp_path: Path) -> None:
    counts(tmp_path, 1)
    (shared,) = tmp_path.glob("*.load")
    assert shared.stat().st_blocks > 0


def test_where_nothing_can_be_written_each_counts_alone(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        alone = counts(tmp_path, 1)
        alone.note(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not alone.has_fewest()
