"""``pinrail labels``: from what ``pinrail requests`` wrote to how good the answers were."""

import csv
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.live.label_store import LabelStore
from receiver.__main__ import main
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.inference_log.live_checks import LiveChecks, LiveServices
from receiver.cli.schemas import schema
from receiver.core.state import Slot
from tests.support.flow import Flow
from tests.support.request_logs import request_log
from tests.support.segments import COLUMNS, record

SLOT = Slot("production", "churn-model")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    state = tmp_path / ".pinrail"
    LogDirectories(state).prepare(SLOT)
    asked = [record(request_id=f"r{n}".encode(), labels=["stay" if n < 6 else "leave"]) for n in range(8)]
    request_log(state, asked, COLUMNS, SLOT)
    return state


def pinrail(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pinrail", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_an_export_with_a_column_more_is_a_file_of_labels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pinrail(monkeypatch, "requests", *SLOT_WORDS, "--out", "week.csv") == 0
    with Path("week.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with Path("labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "label"])
        writer.writeheader()
        writer.writerows({**row, "label": "stay" if row["_request_id"] != "r0" else ""} for row in rows)
    assert pinrail(monkeypatch, "labels", "churn-model", "labels.csv", "--json") == 0
    out, said = capsys.readouterr()
    found: Any = json.loads(out[out.index("{") :])
    jsonschema.validate(found, schema("labels"))
    assert said == "7 labels are new, 0 known, 0 replace another one, 1 rows have none\n"
    assert found["counts"] == {"model": "churn-model", "joined": 7, "unknown": 0, "replaced": 0}
    (accuracy,) = found["realised"]
    assert (accuracy["metric"], accuracy["labels"], accuracy["value"]) == ("accuracy", 7, pytest.approx(5 / 7))


SLOT_WORDS = (SLOT.environment, SLOT.model)


def test_an_export_of_features_with_usual_names_and_of_texts_with_line_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("x.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["request_id", "row", "note", "_request_id", "_row", "label"])
        writer.writerows([["seat", 17, "one\ntwo " * 9000, f"r{n}", 0, "stay"] for n in range(8)] * 10)
    assert pinrail(monkeypatch, "labels", "churn-model", "x.csv") == 0
    assert capsys.readouterr().out.startswith("8 labels of churn-model are joined to answers\n")


def test_parquet_with_columns_of_other_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table({"order": ["r1", "r7", "r9"], "churned": ["stay", "stay", "stay"]}), "late.parquet")
    assert pinrail(monkeypatch, "labels", "churn-model", "late.parquet", "--id", "order", "--label", "churned") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "2 labels of churn-model are joined to answers, 1 have no recorded answer so far"
    assert "accuracy" in out[2]
    assert " 0.5 " in out[2]


@pytest.mark.parametrize(
    ("arguments", "content", "said"),
    [
        (("churn-model", "x.csv"), "request_id,lable\nr1,stay\n", "has no column 'label': did you mean lable?"),
        (("churn-model", "x.csv"), "request_id,row,label\nr1,one,stay\n", "x.csv: row 2: found the row number 'one'"),
        (("churn-model", "x.csv", "--row", "n"), "request_id,label\nr1,stay\n", "has no column 'n'"),
        (("churn-model", "x.csv"), "", "x.csv cannot be read"),
        (("churn-model", "x.csv"), "request_id,label,label\nr1,stay,leave\n", "x.csv has two columns 'label'"),
        (("churn-model", "x.parquet"), "no parquet", "x.parquet cannot be read"),
        (("churn-model", "x.txt"), "request_id,label\n", "allowed .csv or .parquet"),
        (("churn-modle",), "", "nothing is recorded of churn-modle: did you mean churn-model?"),
    ],
)
def test_what_cannot_be_taken_in_says_why(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    content: str,
    said: str,
) -> None:
    for name in arguments[1:2]:
        Path(name).write_text(content)
    assert pinrail(monkeypatch, "labels", *arguments) == 1
    assert said in capsys.readouterr().err


def test_the_receiver_joins_labels_when_their_answers_are_collected(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("early.csv").write_text("request_id,label\nr1,stay\nearly,stay\n")
    assert pinrail(monkeypatch, "labels", "churn-model", "early.csv") == 0
    request_log(state, [record(request_id=b"early", labels=["stay"])], COLUMNS, SLOT)
    services = Flow(state).services
    LiveChecks(state, LiveServices(services.journal, services.registry, services.outbox, proposes=False)).run(
        threading.Event()
    )
    store = LabelStore(LogDirectories(state).root)
    assert store.counts()["churn-model"].joined == 2
    assert [found.labels for found in store.realised()] == [2]
    assert "pyarrow" not in " ".join(receiver_modules())


def receiver_modules() -> list[str]:
    program = "import sys, receiver.wiring; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
