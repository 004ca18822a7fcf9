"""``pinrail requests``, and the queries that the documentation gives."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import pytest

from receiver.__main__ import main
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.cli.schemas import schema
from receiver.core.state import Slot
from tests.receiver.adapters.inference_log.test_collector import Place
from tests.support.segments import record, write_segment

PAGE = Path(__file__).parents[4] / "docs" / "inference-log.md"
SLOT = Slot("production", "churn-model")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Two versions of the slot in the page's examples were asked; one request was refused."""
    monkeypatch.setattr("tests.receiver.adapters.inference_log.test_collector.SLOT", SLOT)
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path / ".pinrail")
    place.write(b"one", b"two")
    place.write(b"three", rows=None, labels=None, probabilities=None, status=422, reason="age: a value is required")
    place.collect()
    write_segment(place.source, [record(request_id=b"four", rows=[[7, "Bonn", b"\xff"]])], COLUMNS_OF_4, version=4)
    place.collect()
    return place


COLUMNS_OF_4 = [("age", "long"), ("city", "string"), ("raw", "binary")]


def pinrail(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pinrail", "requests", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_last_requests_are_listed_newest_first(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pinrail(monkeypatch, *vars_of(SLOT)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[6] for line in lines[1:]] == ["four", "three", "two", "one"]
    assert '{"age":30,"city":"Köln"}' in lines[-1]
    assert "age: a value is required" in lines[2]


def vars_of(slot: Slot) -> tuple[str, str]:
    return slot.environment, slot.model


def test_json_is_what_its_schema_says(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pinrail(monkeypatch, *vars_of(SLOT), "--version", "4", "--since", "1h", "--json") == 0
    found: Any = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, schema("requests"))
    (row,) = found
    assert row["inputs"] == {"age": 7, "city": "Bonn", "raw": "/w=="}
    assert (row["request_id"], row["prediction"], row["caller"]) == ("four", "stay", "shop")


def test_all_go_to_a_file(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert pinrail(monkeypatch, *vars_of(SLOT), "--caller", "shop", "--out", "all.parquet") == 0
    assert capsys.readouterr().out == "4 rows are in all.parquet\n"
    assert (tmp_path / "all.parquet").stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("production", "churn"), "nothing is recorded of production/churn: did you mean production/churn-model?"),
        (("production", "churn-model", "--since", "soon"), "--since: found 'soon', allowed how long ago"),
        (("production", "churn-model", "--out", "all"), "--out: found all, allowed a name that ends in .parquet"),
    ],
)
def test_what_cannot_be_shown_says_why(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    assert pinrail(monkeypatch, *arguments) == 1
    assert said in capsys.readouterr().err


def test_where_nothing_records_it_says_how_to_switch_it_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pinrail(monkeypatch, *vars_of(SLOT)) == 1
    assert "add `log: {}` to environments/production.yaml" in capsys.readouterr().err
    LogDirectories(tmp_path / ".pinrail").prepare(SLOT)
    assert pinrail(monkeypatch, *vars_of(SLOT)) == 1
    assert "nothing is recorded of production/churn-model yet" in capsys.readouterr().err


def test_the_queries_of_the_page_work_as_they_stand_there(place: Place) -> None:
    queries = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    by_version, refusals = (duckdb.sql(query).fetchall() for query in queries)
    assert [(row[0], row[1]) for row in by_version] == [(3, 3), (4, 1)]
    assert refusals == [("shop", 422, "age: a value is required", 1)]
