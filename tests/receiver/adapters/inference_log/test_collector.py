"""From segments to Parquet: nothing twice, nothing lost, nothing beyond the caps, whatever lies there."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ml.datasets.request_log import read_part
from ml.environment.file import LogPolicy
from receiver.adapters.inference_log import collector, parts
from receiver.adapters.inference_log.collector import LogCollector
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.state import Slot
from tests.support.segments import record, segments, write_segment

SLOT = Slot("staging", "churn")
DAY = 86_400 * 1_000_000


class Place:
    """One state directory with one slot that records."""

    def __init__(self, state: Path) -> None:
        self.directories = LogDirectories(state)
        self.directories.prepare(SLOT)
        self.source = self.directories.segments(SLOT)
        self.parquet = self.directories.parquet(SLOT)
        self.policy = LogPolicy()

    def collect(self) -> None:
        LogCollector(self.directories, lambda: {SLOT: self.policy}).run(threading.Event())

    def write(self, *ids: bytes, **changes: Any) -> Path:
        return write_segment(self.source, [record(request_id=each, **changes) for each in ids])

    def parts(self) -> list[Path]:
        return sorted(self.parquet.glob("date=*/*.parquet"))

    def ids(self) -> list[str]:
        return [name for part in self.parts() for name in self.read(part)["_request_id"].to_pylist()]

    def read(self, part: Path) -> pa.Table:
        return read_part(part)

    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.parts())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_segments_become_one_part_of_today_that_grows(place: Place) -> None:
    place.write(b"one", b"two")
    place.write(b"three")
    place.collect()
    assert segments(place.source) == []
    place.write(b"four")
    place.collect()
    (part,) = place.parts()
    assert part.parent.name == f"date={datetime.now(UTC).date()}"
    assert place.ids() == ["one", "two", "three", "four"]
    assert list(place.directories.claims(SLOT).iterdir()) == []


def test_rows_have_the_signatures_types_and_what_else_is_known(place: Place) -> None:
    columns = [
        *(("b", "boolean"), ("i", "integer"), ("l", "long"), ("f", "float"), ("d", "double"), ("s", "string")),
        *(("raw", "binary"), ("when", "datetime"), ("secret", "hash"), ("_odd", "long")),
    ]
    row = [True, 1, 2**40, 1.5, None, "x", b"\0", "2026-01-31T09:30:00", "0f" * 16, 7]
    write_segment(place.source, [record(rows=[row, row], labels=[0, 1], probabilities=[[1.0, 0.0]] * 2)], columns)
    place.collect()
    found = place.read(place.parts()[0])
    assert dict(zip(found.column_names, map(str, found.schema.types), strict=True)) == {
        "_time": "timestamp[us, tz=UTC]",
        "_request_id": "string",
        "_row": "int32",
        "_version": "int64",
        "_caller": "string",
        "_protocol": "string",
        "_status": "int16",
        "_reason": "string",
        "_latency_ms": "double",
        "_params": "string",
        "b": "bool",
        "i": "int32",
        "l": "int64",
        "f": "float",
        "d": "double",
        "s": "string",
        "raw": "binary",
        "when": "timestamp[us]",
        "secret": "string",
        "__odd": "int64",
        "_prediction": "int64",
        "_probabilities": "list<element: double>",
    }
    first, second = found.to_pylist()
    assert (first["_row"], second["_row"]) == (0, 1)
    assert first["when"] == datetime(2026, 1, 31, 9, 30)  # noqa: DTZ001 - the signature's times have no zone
    assert first["_latency_ms"] == 0.9
    assert second["_prediction"] == 1


def test_a_refusal_is_a_row_without_values(place: Place) -> None:
    write_segment(place.source, [record(rows=None, labels=None, probabilities=None, status=422, reason="no")])
    place.collect()
    (row,) = place.read(place.parts()[0]).to_pylist()
    assert (row["_status"], row["_reason"], row["age"], row["_prediction"]) == (422, "no", None, None)


def test_refusals_join_the_part_of_answers_and_other_columns_get_their_own(place: Place) -> None:
    place.write(b"answered")
    place.collect()
    write_segment(place.source, [record(rows=None, labels=None, probabilities=None, status=422)])
    place.collect()
    assert len(place.parts()) == 1
    write_segment(place.source, [record(rows=[[30]])], [("age", "long")])
    place.collect()
    assert len(place.parts()) == 2


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, None], [1, None]),
        ([1, 0.5], [1.0, 0.5]),
        ([True, False], [True, False]),
        (["a", 1], ['"a"', "1"]),
        ([[1, 2], {"x": 1}], ["[1,2]", '{"x":1}']),
        ([2**64 - 1, 1], ["18446744073709551615", "1"]),
    ],
)
def test_predictions_of_one_type_keep_it_and_others_are_json(
    place: Place, labels: list[Any], expected: list[Any]
) -> None:
    write_segment(place.source, [record(rows=[[1, "a"], [2, "b"]], labels=labels, probabilities=None)])
    place.collect()
    assert place.read(place.parts()[0])["_prediction"].to_pylist() == expected


@pytest.mark.parametrize("dies_in", ["_claim", "append", "rmtree"])
def test_after_a_crash_anywhere_each_record_is_there_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    place.write(b"before")
    place.collect()
    place.write(b"one")
    place.write(b"two")
    with monkeypatch.context() as patched:
        crash_after(patched, dies_in)
        with pytest.raises(KeyboardInterrupt):
            place.collect()
    place.write(b"three")
    place.collect()
    assert sorted(place.ids()) == ["before", "one", "three", "two"]


def crash_after(patched: pytest.MonkeyPatch, step: str) -> None:
    """The collector dies right after it has done this; ``rmtree``: right before."""

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            real(*arguments)
            raise KeyboardInterrupt

        return call

    if step == "append":
        patched.setattr(parts.Parts, "append", dying(parts.Parts.append))
    elif step == "rmtree":
        patched.setattr(shutil, "rmtree", dying(lambda *_: None))
    else:
        patched.setattr(collector, step, dying(getattr(collector, step)))


def test_what_is_no_segment_is_left_out_and_stops_nothing(place: Place, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"do not read")
    (place.source / "0-link.segment").symlink_to(secret)
    os.mkfifo(place.source / "0-fifo.segment")
    (place.source / "0-directory.segment").mkdir()
    (place.source / "0-noise.segment").write_bytes(b"\xff" * 100)
    cut = place.write(b"cut")
    cut.write_bytes(cut.read_bytes()[:-1])
    write_segment(place.source, [record(rows=[["thirty", "Köln"]])])
    write_segment(place.source, [record(rows=[[1]])])
    write_segment(place.source, [record(time=2**62)], version=7)
    write_segment(place.source, [record()], [("age", "no type")])
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    write_segment(place.source, [record(labels=[deep])])
    place.write(b"sound")
    place.collect()
    assert "sound" in place.ids()
    assert "cut" not in place.ids()
    assert secret.read_bytes() == b"do not read"
    assert list(place.directories.claims(SLOT).iterdir()) == []


def test_leftovers_of_crashed_writers_are_removed_after_a_while_and_the_key_stays(place: Place) -> None:
    for name in (".half.segment", "other"):
        path = place.source / name
        path.write_bytes(b"x")
        os.utime(path, (time.time() - 3600,) * 2)
    (place.source / ".fresh.segment").write_bytes(b"x")
    place.collect()
    assert {path.name for path in place.source.iterdir()} == {"key", ".fresh.segment"}


def test_days_that_are_too_old_are_removed_and_not_begun(place: Place) -> None:
    now = int(time.time() * 1e6)
    place.write(b"yesterday", time=now - DAY)
    place.write(b"long ago", time=now - 40 * DAY)
    place.collect()
    assert place.ids() == ["yesterday"]
    place.policy = LogPolicy(keep_days=1)
    place.write(b"today")
    place.collect()
    assert place.ids() == ["yesterday", "today"]
    for old in place.parquet.iterdir():
        if old.name != f"date={datetime.now(UTC).date()}":
            old.rename(old.with_name("date=2020-01-01"))
    place.collect()
    assert place.ids() == ["today"]


def test_the_cap_holds_under_a_flood_and_the_oldest_go_first(place: Place) -> None:
    place.policy = LogPolicy(max_mb=1)
    for number in range(40):
        place.write(b"%d" % number, rows=[[number, os.urandom(50_000).hex()]])
        place.collect()
        place.collect()
        assert place.bytes() <= 1_000_000
    found = place.ids()
    assert "39" in found
    assert "0" not in found
    assert found == sorted(found, key=int)


def test_what_waits_beyond_all_measure_goes_oldest_first(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "WAITING_BYTES", 1000)
    for number in range(20):
        place.write(b"%d" % number)
    place.collect()
    assert 0 < len(place.ids()) < 10
    assert "19" in place.ids()


def test_a_full_disk_is_said_and_costs_nothing_once_there_is_room(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.write(b"one")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        place.collect()
    assert "staging/churn: the inference log cannot be collected: No space left on device" in caplog.text
    assert place.ids() == []
    place.collect()
    assert place.ids() == ["one"]


def test_a_claim_that_cannot_be_written_as_parquet_stops_none_that_come_later(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.write(b"one")
    with monkeypatch.context() as patched:
        patched.setattr(parts.Parts, "append", refuse)
        place.collect()
    assert "staging/churn: the records of some seconds are lost" in caplog.text
    place.write(b"two")
    place.collect()
    assert place.ids() == ["two"]


def refuse(*_: object) -> None:
    raise pa.ArrowInvalid("no")


def full(_fd: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_part_that_cannot_be_read_is_left_alone_and_a_new_one_begins(place: Place) -> None:
    place.write(b"one")
    place.collect()
    (part,) = place.parts()
    part.write_bytes(b"broken")
    place.write(b"two")
    place.collect()
    assert len(place.parts()) == 2
    assert place.read(place.parts()[1])["_request_id"].to_pylist() == ["two"]


def test_what_model_servers_could_not_record_is_said_once_and_again_after_a_while(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = LogCollector(place.directories, dict)
    for count in (3, 3, 4, 5):
        monkeypatch.setattr(collector, "REPORT_SECONDS", -1 if count == 5 else 600)
        write_segment(place.source, [record()], dropped={"rate": count, "disk": 0})
        found.run(threading.Event())
    assert [message for message in caplog.messages if "missing" in message] == [
        "staging/churn: requests are missing in the inference log: 3 beyond 1,000 per second",
        "staging/churn: requests are missing in the inference log: 2 beyond 1,000 per second",
    ]
