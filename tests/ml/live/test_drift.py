"""The last day's rows of a version against what trained it."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.datasets.reference import PATH, describe
from ml.live import drift_report
from ml.live.drift import compare
from ml.live.drift_report import SlotDrift, WatchedVersion, drift_line
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.state import Slot
from tests.support.request_logs import request_log
from tests.support.segments import record

SLOT = Slot("staging", "m")
COLUMNS = [("age", "double"), ("city", "string"), ("_id", "string")]
CITIES = ["Bonn", "Köln"]


def rows(count: int, mean: float = 40.0, cities: tuple[float, float] = (0.5, 0.5), gaps: int = 0) -> list[list[Any]]:
    random = np.random.default_rng(5)
    ages: list[Any] = random.normal(mean, 10, count).tolist()
    ages[:gaps] = [None] * gaps
    towns = random.choice(CITIES, count, p=cities).tolist()
    return [[age, town, f"{n:032x}"] for n, (age, town) in enumerate(zip(ages, towns, strict=True))]


def trained(directory: Path) -> str:
    """A version that was trained with 4,000 rows like those of ``rows()``."""
    frame = pd.DataFrame(rows(4000), columns=["age", "city", "_id"]).assign(_id="x")
    (directory / PATH).parent.mkdir(parents=True)
    (directory / PATH).write_text(describe(frame, "sha256:rows").to_json())
    return str(directory)


class Asked:
    """A version that is asked."""

    def __init__(self, directory: Path) -> None:
        self.state = directory
        self.path = trained(directory / "version")
        self.private: tuple[str, ...] = ()

    def ask(self, asked: list[list[Any]], version: int = 3, **changes: Any) -> None:
        labels = ["stay" if n % 4 else "leave" for n in range(len(asked))]
        one = record(rows=asked, labels=labels, probabilities=None, **changes)
        self.log = request_log(self.state, [one], COLUMNS, SLOT, version=version)

    def watched(self) -> WatchedVersion:
        return WatchedVersion(SLOT.environment, SLOT.model, 3, self.path, 0.25, None, self.private)

    def found(self) -> SlotDrift:
        return compare(self.watched(), self.log)


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


def drifted(found: SlotDrift) -> list[str]:
    return [column.column for column in found.columns if column.drifted]


def test_rows_like_those_of_training_have_not_drifted(asked: Asked) -> None:
    asked.ask(rows(500))
    found = asked.found()
    assert (found.rows, found.problem, drifted(found), drift_line(found)) == (500, "", [], "")
    assert found.predictions == {"stay": 0.75, "leave": 0.25}
    assert {column.column for column in found.columns} == {"age", "city"}


@pytest.mark.parametrize(
    ("changed", "column"), [({"mean": 60.0}, "age"), ({"cities": (0.95, 0.05)}, "city"), ({"gaps": 100}, "age")]
)
def test_a_column_that_changed_is_the_first(asked: Asked, changed: dict[str, Any], column: str) -> None:
    asked.ask(rows(500, **changed))
    found = asked.found()
    assert drifted(found) == [column]
    assert found.columns[0].column == column
    assert drift_line(found).startswith(f"drift: {column} (PSI ")


def test_other_versions_rows_those_of_earlier_days_and_refused_ones_do_not_count(asked: Asked) -> None:
    asked.ask(rows(500))
    asked.ask(rows(500, mean=90.0), version=2)
    asked.ask(rows(500, mean=90.0), time=int((time.time() - 90_000) * 1e6))
    asked.ask(rows(500, mean=90.0), status=422)
    assert (asked.found().rows, drifted(asked.found())) == (500, [])


def test_of_few_rows_nothing_is_said_but_how_many_there_are(asked: Asked) -> None:
    asked.ask(rows(299, mean=90.0))
    assert asked.found().problem == "299 rows in the last day, 300 are needed"
    assert asked.found().columns == []


def test_hashes_are_not_compared_with_what_they_are_of(asked: Asked) -> None:
    asked.ask(rows(500))
    assert "_id" not in {column.column for column in asked.found().columns}
    asked.private = ("city",)
    assert [column.column for column in asked.found().columns] == ["age"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the version has no record of its training data"),
        ("[]", "its training data cannot be compared: pinrail/reference.json of the version"),
        ('{"digest": "d", "rows": 1, "columns": {"age": {"quantiles": [NaN, 1], "shares": {}, "missing": 0}}}', ""),
    ],
)
def test_a_version_without_a_record_that_can_be_read_is_named(asked: Asked, content: str | None, said: str) -> None:
    (Path(asked.path) / PATH).unlink()
    if content is not None:
        (Path(asked.path) / PATH).write_text(content)
    asked.ask(rows(400))
    assert asked.found().problem.startswith(said)


def test_the_program_writes_what_it_found_and_a_damaged_file_is_nothing(asked: Asked) -> None:
    asked.ask(rows(500, mean=60.0))
    root = LogDirectories(asked.state).root
    watched = {name: getattr(asked.watched(), name) for name in WatchedVersion.__dataclass_fields__}
    subprocess.run(
        [sys.executable, "-m", "ml.live.drift", str(root / "parquet")],
        input=json.dumps([watched]).encode(),
        check=True,
    )
    (found,) = drift_report.read(root)
    assert drifted(found) == ["age"]
    (root / drift_report.FILE).write_text("[{]")
    assert drift_report.read(root) == []
