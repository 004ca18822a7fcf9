import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ml.datasets.evaluation_set import own_file
from ml.errors import DataError
from ml.evaluate import main
from ml.evaluation.records import to_records
from serving.model.model_dir import Column, ModelDir

GUIDE = Path(__file__).parents[3] / "docs" / "bring-your-own-model.md"


def model_of(*columns: Column, tensor: str | None = None) -> ModelDir:
    return ModelDir(Path(), columns, (), frozenset(), None, None, tensor=tensor)


MODEL = model_of(Column("age", "long"), Column("visits", "long", required=False), Column("plan", "string"))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("plan,left,age,visits,region\nNone,no,3,,n\nb,yes,5,2,s\n")
    return path


def test_values_are_what_a_caller_would_send_and_other_columns_stay_beside_them(rows: Path) -> None:
    data = own_file(rows, "left")(MODEL)
    records = to_records(data.features, MODEL.columns)
    assert {(r["age"], r["visits"], r["plan"]) for r in records} == {(3, None, "None"), (5, 2, "b")}
    assert all(type(r["age"]) is int for r in records)
    assert sorted(data.labels.tolist()) == ["no", "yes"]
    assert set(data.features["region"]) == {"n", "s"}


def test_a_model_without_names_takes_the_other_columns_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("b,a,y\n1.5,2,10.5\n3.5,4,20.5\n")
    model = model_of(Column("0", "double"), Column("1", "double"), tensor="float64")
    data = own_file(path, "y")(model)
    assert sorted(np.array(data.features).tolist()) == [[1.5, 2.0], [3.5, 4.0]]
    assert list(data.features) == ["0", "1"]
    path.write_text("b,y\n1,2\n")
    with pytest.raises(DataError, match="1 columns besides y, but the model takes 2"):
        own_file(path, "y")(model)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("plan,left,age\na,no,3\n", r"columns missing: \['visits'\]"),
        ("plan,churn,age,visits\na,no,3,4\n", r"columns missing: \['left'\]"),
        ("plan,left,age,visits\na,no,x,4\n", "can't read it with the types of the model's signature"),
        ("plan,left,age,visits\na,,3,4\n", "left, the label, is empty"),
        ("plan,left,age,visits\n", "the file has no rows"),
    ],
)
def test_a_file_that_does_not_suit_the_model_is_refused_by_name(rows: Path, text: str, says: str) -> None:
    rows.write_text(text)
    with pytest.raises(DataError, match=says):
        own_file(rows, "left")(MODEL)


@pytest.mark.long
@pytest.mark.timeout(300)  # programs that import MLflow, on a machine that may be busy
def test_the_guide_does_what_it_says(
    mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Another estimator, another data set, a regression: registered, gated and served as written there."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    guide = GUIDE.read_text()
    code, environment, console = (
        re.search(rf"```{kind}\n(.*?)```", guide, re.DOTALL) for kind in ("python", "yaml", "console")
    )
    assert code
    assert environment
    assert console
    assert len(code[1].splitlines()) <= 20
    subprocess.run([sys.executable, "-c", code[1]], check=True, capture_output=True, timeout=200)
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "staging.yaml").write_text(environment[1])
    command, *expected = console[1].splitlines()
    capfd.readouterr()
    assert main(command.split("ml.evaluate ")[1].split()) == 0
    said = capfd.readouterr().out.splitlines()
    timeless = [line for line in expected if "latency" not in line]
    assert [line for line in said if "latency" not in line] == timeless
