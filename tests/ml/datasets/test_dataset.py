from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.datasets import dataset, telco
from ml.datasets.dataset import Columns, arrange, split
from ml.errors import DataError
from tests.support.examples import examples

COLUMNS = Columns(
    features={"age": int, "spend": float, "plan": str},
    missing=frozenset({"spend"}),
    label="left",
    classes=("No", "Yes"),
)

Row = tuple[int, float | None, str, int]
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=20,
)


def frame_of(rows: list[Row]) -> tuple[pd.DataFrame, np.ndarray[Any, np.dtype[np.int64]]]:
    frame = pd.DataFrame(
        {
            "age": np.array([r[0] for r in rows], dtype=np.int64),
            "spend": np.array([r[1] for r in rows], dtype=np.float64),
            "plan": [r[2] for r in rows],
        }
    )
    return frame, np.array([r[3] for r in rows], dtype=np.int64)


@given(rows=ROWS, choose=st.data())
@settings(max_examples=examples(40), deadline=None)
def test_any_order_of_rows_and_columns_gives_the_same_digest_rows_and_split(
    rows: list[Row], choose: st.DataObject
) -> None:
    other_rows = choose.draw(st.permutations(rows))
    names = choose.draw(st.permutations(["age", "spend", "plan"]))
    one = arrange(*frame_of(rows))
    frame, labels = frame_of(other_rows)
    other = arrange(frame[names], labels)
    assert other.digest == one.digest
    assert other.labels.tolist() == one.labels.tolist()
    pd.testing.assert_frame_equal(other.features[list(one.features)], one.features)
    assert [part.digest for part in split(other)] == [part.digest for part in split(one)]


@given(rows=ROWS, position=st.integers(0, 19))
@settings(max_examples=examples(40), deadline=None)
def test_changing_one_value_changes_the_digest(rows: list[Row], position: int) -> None:
    frame, labels = frame_of(rows)
    before = arrange(frame, labels).digest
    changed = labels.copy()
    changed[position % len(rows)] ^= 1
    assert arrange(frame, changed).digest != before


def test_the_committed_customers_are_all_there_and_the_eleven_unbilled_ones_stay_missing() -> None:
    data = telco.load()
    assert len(data) == 7043
    assert data.labels.mean() == pytest.approx(0.265, abs=0.001)
    unbilled = data.features[data.features["total_charges"].isna()]
    assert len(unbilled) == 11
    assert set(unbilled["tenure"]) == {0}


def test_a_quarter_is_held_out_and_customers_who_look_the_same_are_on_one_side() -> None:
    training, evaluation = split(telco.load())
    assert len(evaluation) / 7043 == pytest.approx(0.25, abs=0.01)
    assert not set(dataset.row_texts(training.features)) & set(dataset.row_texts(evaluation.features))


def test_a_row_stays_on_its_side_when_others_leave() -> None:
    data = telco.load()
    _, evaluation = split(data)
    _, fewer = split(arrange(data.features[::2], data.labels[::2]))
    assert set(dataset.row_texts(fewer.features)) <= set(dataset.row_texts(evaluation.features))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("age,plan,left\n1,a,No\n", "columns missing: ['spend']"),
        ("age,spend,plan,left,x\n1,2,a,No,1\n", "unknown columns: ['x']"),
        ("age,spend,plan,left\n,2,a,No\n", "can't read the data"),
        ("age,spend,plan,left\n1.5,2,a,No\n", "can't read the data"),
        ("age,spend,plan,left\n1,2,,No\n", "column plan is empty in 1 rows"),
        ("age,spend,plan,left\n1,2,a,Maybe\n", "label left has ['Maybe']; expected ['No', 'Yes']"),
        ("", "can't read the data"),
    ],
)
def test_a_file_that_is_not_what_its_columns_promise_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "customers.csv"
    path.write_text(text)
    with pytest.raises(DataError) as refused:
        dataset.read(path, COLUMNS)
    assert says in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_is_a_data_error() -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        dataset.read(Path("nowhere.csv"), COLUMNS)


def test_texts_that_pandas_takes_for_missing_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text("age,spend,plan,left\n1,,None,No\n2,3.5,NA,Yes\n")
    data = dataset.read(path, COLUMNS)
    assert data.features["plan"].tolist() == ["None", "NA"]
    assert data.features["spend"].isna().tolist() == [True, False]
