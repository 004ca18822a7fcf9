"""What model servers could not record is counted once, also by the next receiver."""

import threading
from pathlib import Path

from ml.environment.file import LogPolicy
from receiver.adapters.inference_log.collector import LogCollector
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.inference_log.losses import FILE, Losses, totals
from receiver.core.state import Slot
from tests.support.segments import record, write_segment

SLOT = Slot("staging", "m")
RATE = ("staging", "m", "rate")


def collected(state: Path, rate: int) -> int:
    """What is counted after a segment of one server that has dropped so many since its start."""
    directories = LogDirectories(state)
    directories.prepare(SLOT)
    write_segment(directories.segments(SLOT), [record()], dropped={"rate": rate})
    LogCollector(directories, lambda: {SLOT: LogPolicy()}).run(threading.Event())
    return totals(directories.root).get(RATE, 0)


def test_a_server_counts_on_and_a_new_receiver_counts_nothing_twice(tmp_path: Path) -> None:
    assert collected(tmp_path, 0) == 0
    assert [collected(tmp_path, rate) for rate in (5, 5, 12)] == [5, 5, 12]


def test_the_counts_of_several_servers_add_up_and_growth_is_what_is_returned(tmp_path: Path) -> None:
    losses = Losses(tmp_path)
    assert losses.note(SLOT, "a", {"rate": 5, "disk": 0}) == {"rate": 5}
    assert losses.note(SLOT, "a", {"rate": 5, "disk": 2}) == {"disk": 2}
    assert losses.note(SLOT, "b", {"rate": 1}) == {"rate": 1}
    losses.save()
    assert totals(tmp_path)[RATE] == 6
    assert Losses(tmp_path).note(SLOT, "a", {"rate": 5}) == {}


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"a": [1]}')
    assert totals(tmp_path) == {}
    losses = Losses(tmp_path)
    losses.note(SLOT, "a", {"rate": 5})
    losses.save()
    assert totals(tmp_path)[RATE] == 5


def test_made_up_names_do_not_fill_the_disk(tmp_path: Path) -> None:
    losses = Losses(tmp_path)
    for number in range(1_001):
        losses.note(SLOT, f"{number}", {"rate": 1})
    losses.save()
    assert totals(tmp_path) == {}
