"""Labels that come early, late, twice, in parts and wrong, and what the answers of each version were worth."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ml.live.join import update
from ml.live.label_store import LabelStore
from ml.live.labels import Label, LabelsUnusable, Realised, Received
from ml.live.realised import unfit_labels
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.state import Slot
from tests.support.request_logs import request_log
from tests.support.segments import COLUMNS, record

STAGING, PRODUCTION = Slot("staging", "m"), Slot("production", "m")


class Labelled:
    """One state directory whose model is m."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.directories = LogDirectories(state)
        self.store = LabelStore(self.directories.root)

    def ask(self, name: str, answers: Sequence[Any], slot: Slot = STAGING, version: int = 3, **more: Any) -> None:
        rows = [[30, "Köln"]] * len(answers)
        table = None if isinstance(answers[0], float | bool) else [[0.5, 0.5]] * len(answers)
        asked = record(request_id=name.encode(), rows=rows, labels=list(answers), probabilities=table, **more)
        request_log(self.state, [asked], COLUMNS, slot, version=version)

    def label(self, *labels: tuple[str, int, str]) -> Received:
        received = self.store.add("m", [Label(*each) for each in labels])
        self.update()
        return received

    def update(self) -> None:
        update(self.store, self.directories.all_parquet, "m")

    def metric(self, slot: Slot = STAGING, version: int = 3, name: str = "accuracy") -> Realised:
        of = (slot.environment, slot.model, version, name)
        (found,) = [r for r in self.store.realised() if (r.environment, r.model, r.version, r.metric) == of]
        return found

    def counts(self) -> tuple[int, int, int]:
        found = self.store.counts()["m"]
        return found.joined, found.unknown, found.replaced


@pytest.fixture
def m(tmp_path: Path) -> Labelled:
    return Labelled(tmp_path)


def test_labels_join_by_request_and_row_whatever_their_order_and_number(m: Labelled) -> None:
    m.ask("batch", ["stay", "leave", "stay"])
    m.ask("one", ["leave"])
    m.label(("batch", 2, "leave"), ("one", 0, "leave"))
    found = m.metric()
    assert (found.value, found.labels) == (0.5, 2)
    assert found.low is not None
    assert found.high is not None
    assert 0.0 < found.low < 0.5 < found.high < 1.0
    m.label(("batch", 0, "stay"), ("batch", 1, "leave"))
    assert (m.metric().value, m.metric().labels) == (0.75, 4)


def test_labels_that_come_before_their_answers_wait_for_them(m: Labelled) -> None:
    m.label(("early", 0, "stay"), ("elsewhere", 0, "stay"))
    assert m.counts() == (0, 2, 0)
    m.ask("early", ["stay"])
    m.update()
    assert m.counts() == (1, 1, 0)
    assert m.metric().value == 1.0


def test_a_label_that_comes_again_changes_nothing_and_another_replaces_it_and_is_counted(m: Labelled) -> None:
    m.ask("a", ["stay"])
    assert m.label(("a", 0, "stay")) == Received(new=1)
    assert m.label(("a", 0, "stay")) == Received(same=1)
    assert m.metric().value == 1.0
    assert m.label(("a", 0, "leave")) == Received(replaced=1)
    assert m.metric().value == 0.0
    assert m.counts() == (1, 0, 1)


def test_each_version_and_environment_has_its_own_figures_also_for_one_request_id(m: Labelled) -> None:
    m.ask("a", ["stay"], STAGING, 3)
    m.ask("a", ["leave"], PRODUCTION, 2)
    m.ask("b", ["stay"], PRODUCTION, 3)
    m.label(("a", 0, "stay"), ("b", 0, "leave"))
    assert m.metric(STAGING, 3).value == 1.0
    assert m.metric(PRODUCTION, 2).value == 0.0
    assert m.metric(PRODUCTION, 3).value == 0.0


def test_requests_that_were_refused_and_rows_that_were_not_asked_join_nothing(m: Labelled) -> None:
    m.ask("a", ["stay"])
    m.ask("refused", ["stay"], status=422)
    m.label(("a", 1, "stay"), ("refused", 0, "stay"))
    assert m.counts() == (0, 2, 0)
    assert m.store.realised() == []


def test_a_regression_has_mean_errors_with_intervals(m: Labelled) -> None:
    m.ask("a", [float(n) for n in range(40)])
    m.label(*(("a", n, str(n + (2 if n % 2 else -4))) for n in range(40)))
    mae, rmse = m.metric(name="mae"), m.metric(name="rmse")
    assert mae.value == pytest.approx(3.0)
    assert rmse.value == pytest.approx(10**0.5)
    for found in (mae, rmse):
        assert found.low is not None
        assert found.high is not None
        assert found.value is not None
        assert found.low < found.value < found.high
    m.update()
    assert m.metric(name="mae") == mae


@pytest.mark.parametrize(
    ("answer", "label", "value"),
    [
        (1, "1", 1.0),
        (1, "1.0", 1.0),  # pandas writes numbers with gaps like this
        (0, "true", 0.0),
        (True, "1", 1.0),
        (True, "false", 0.0),
        ("yes", "no", 0.0),
        (1, "yes", None),
        (True, "yes", None),
        ("yes", "1", None),
        ("yes", "Yes", None),
        ("yes", "", 0.0),
        ("1", "1.0", 1.0),
        ("1", "true", 1.0),
        ("true", "1.0", 1.0),
        ("true", "no", None),
        ('"other"', "other", 1.0),  # of a model that also answers numbers
        ('"other"', "else", 0.0),
        (2**53 + 1, str(2**53 + 1), 1.0),
        (2**53 + 1, str(2**53), 0.0),
    ],
)
def test_a_label_that_is_written_in_another_way_is_not_a_wrong_answer(
    m: Labelled, answer: Any, label: str, value: float | None
) -> None:
    m.ask("a", [answer])
    m.label(("a", 0, label))
    found = m.metric()
    assert found.value == value
    assert found.unfit == (1 if value is None else 0)
    assert (found.problem != "") is (value is None)
    assert list(unfit_labels(m.store.labelled("m"))) == ([label] if value is None else [])


def test_labels_of_another_column_or_in_other_words_are_left_out_and_not_wrong(m: Labelled) -> None:
    m.ask("words", ["stay", "leave"] * 20)
    m.label(*(("words", n, "ja" if n % 3 else "nein") for n in range(40)))
    assert (m.metric().value, m.metric().unfit) == (None, 40)
    m.ask("ages", [1, 0] * 20, version=4)
    m.label(*(("ages", n, str(n)) for n in range(2, 40)))
    assert (m.metric(version=4).value, m.metric(version=4).unfit) == (None, 38)


def test_a_version_that_always_answers_the_same_is_wrong_and_not_misunderstood(m: Labelled) -> None:
    m.ask("same", ["stay"] * 40)
    m.label(*(("same", n, "leave") for n in range(40)))
    assert (m.metric().value, m.metric().unfit) == (0.0, 0)
    m.ask("always", [True] * 40, version=4)
    m.label(*(("always", n, "false") for n in range(40)))
    assert (m.metric(version=4).value, m.metric(version=4).unfit) == (0.0, 0)


def test_a_row_that_was_asked_several_times_under_one_id_counts_not_and_is_counted(m: Labelled) -> None:
    m.ask("guessed", ["stay"])
    m.ask("own", ["stay"])
    m.ask("guessed", ["leave"])
    m.label(("guessed", 0, "stay"), ("own", 0, "stay"))
    assert (m.metric().value, m.metric().labels, m.metric().unfit) == (1.0, 1, 1)
    assert m.metric().problem == "1 labels are left out, as their rows were asked several times under one id"
    m.label(("own", 1, "stay"))
    m.update()
    assert m.metric().labels == 1, "an answer that is read again is not another one"


def test_classes_that_are_written_as_floats_have_an_accuracy_too(m: Labelled) -> None:
    m.ask("a", [1.0, 0.0, 1.0, 1.0])
    m.label(*(("a", n, "1") for n in range(4)))
    assert m.metric().value == 0.75
    assert m.metric(name="mae").value == 0.25


def test_a_part_that_cannot_be_read_takes_no_other_with_it(m: Labelled, caplog: pytest.LogCaptureFixture) -> None:
    m.ask("a", ["stay"], PRODUCTION)
    m.ask("a", ["stay"], STAGING)
    (part,) = m.directories.all_parquet.glob("environment=production/**/*.parquet")
    part.write_bytes(b"no parquet")
    m.label(("a", 0, "stay"))
    assert m.metric().value == 1.0
    assert f"{part} cannot be read" in caplog.text


def test_a_file_of_an_earlier_schema_is_joined_anew(m: Labelled) -> None:
    m.ask("a", ["stay"])
    m.label(("a", 0, "stay"))
    with closing(sqlite3.connect(m.store.file)) as db:
        db.executescript("PRAGMA user_version = 0; DROP TABLE answers; CREATE TABLE answers (model TEXT)")
    assert m.store.waiting().changed
    m.update()
    assert m.counts() == (1, 0, 0)
    assert m.metric().labels == 1


def test_of_too_many_labels_those_without_an_answer_go_first(m: Labelled) -> None:
    m.ask("a", ["stay"])
    m.label(("a", 0, "stay"))
    m.label(("nobody", 0, "stay"))
    m.store.trim("m", most=1)
    assert m.counts() == (1, 0, 0)
    assert m.store.trimmed() == set()
    m.store.trim("m", most=0)
    assert m.store.trimmed() == {("staging", "m", 3)}


def test_of_too_many_labels_the_oldest_go_and_what_nobody_was_asked_goes_after_a_time(
    m: Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    m.ask("a", ["stay"] * 4)
    for row in range(4):
        m.label(("a", row, "stay"))
    m.store.trim("m", most=3)
    assert m.counts() == (3, 0, 0)
    m.update()
    assert m.metric().labels == 3
    m.label(("nobody", 0, "stay"))
    monkeypatch.setattr("ml.live.label_store.KEEP_UNKNOWN_SECONDS", -1.0)
    m.store.trim("m")
    assert m.counts() == (3, 0, 0)


def test_figures_stay_when_the_log_and_the_labels_are_gone(m: Labelled) -> None:
    m.ask("a", ["stay"])
    m.label(("a", 0, "stay"))
    m.store.trim("m", most=0)
    m.update()
    assert m.metric().value == 1.0


def test_a_damaged_file_takes_no_status_with_it(m: Labelled) -> None:
    m.label(("a", 0, "stay"))
    for file in m.store.file.parent.glob("labels.db*"):
        file.write_bytes(b"no database at all" * 100)
    assert m.store.realised() == []
    assert m.store.counts() == {}
    with pytest.raises(LabelsUnusable, match="labels"):
        m.store.add("m", [Label("a", 0, "stay")])


def test_only_this_user_reads_labels(m: Labelled) -> None:
    m.label(("a", 0, "stay"))
    assert {file.stat().st_mode & 0o077 for file in m.store.file.parent.glob("labels.db*")} == {0}
