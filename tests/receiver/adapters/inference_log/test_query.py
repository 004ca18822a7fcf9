"""Reading the log of a slot, over parts of several versions."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from receiver.adapters.inference_log.query import RequestFilter, export, newest
from receiver.core.errors import Rejected
from tests.receiver.adapters.inference_log.test_collector import Place
from tests.support.segments import record, write_segment


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Two versions; the second has another column, and answers with numbers."""
    place = Place(tmp_path / "state")
    start = int(datetime.now(UTC).timestamp() * 1e6) - 10_000_000
    for number in range(5):
        place.write(b"%d" % number, time=start + number)
    place.collect()
    later = [record(request_id=b"5", caller=b"desk", time=start + 5, rows=[[1]], labels=[7], probabilities=None)]
    write_segment(place.source, later, [("age", "long")], version=4)
    place.collect()
    return place


def ids(place: Place, limit: int = 100, **wanted: object) -> list[str]:
    found = newest(place.parquet, RequestFilter(**wanted), limit)  # type: ignore[arg-type]
    return [row["_request_id"] for row in found]


def test_the_newest_rows_come_first_over_all_parts(place: Place) -> None:
    assert ids(place) == ["5", "4", "3", "2", "1", "0"]
    assert ids(place, 2) == ["5", "4"]


def test_a_caller_a_version_or_a_time_narrows_it(place: Place) -> None:
    assert ids(place, caller="desk") == ids(place, version=4) == ["5"]
    assert ids(place, since=datetime.now(UTC) - timedelta(minutes=1), version=3) == ["4", "3", "2", "1", "0"]
    assert ids(place, since=datetime.now(UTC)) == []


def test_all_go_to_one_parquet_file_whose_columns_are_those_of_all_versions(place: Place, tmp_path: Path) -> None:
    assert export(place.parquet, RequestFilter(), tmp_path / "all.parquet") == 6
    found = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert [row["_request_id"] for row in found] == ["0", "1", "2", "3", "4", "5"]
    assert [row["_prediction"] for row in found][-2:] == ["stay", "7"]
    assert found[-1]["city"] is None


def test_all_go_to_a_csv_file(place: Place, tmp_path: Path) -> None:
    assert export(place.parquet, RequestFilter(version=3), tmp_path / "all.csv") == 5
    with (tmp_path / "all.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["city"] == "Köln"
    assert rows[0]["_probabilities"] == "[0.25, 0.75]"


def test_another_format_or_place_is_refused(place: Place, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"found all.xlsx, allowed a name that ends in .parquet or .csv"):
        export(place.parquet, RequestFilter(), tmp_path / "all.xlsx")
    with pytest.raises(Rejected, match="cannot be written"):
        export(place.parquet, RequestFilter(), tmp_path / "nowhere" / "all.parquet")
