from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.datasets.reference import Reference, describe
from ml.environment.gate_schema import AtMost, AtMostShare, DriftLimits
from ml.evidence import CheckOutcome
from ml.gates.drift import check, columns
from ml.gates.subject import Subject
from tests.support.examples import examples
from tests.support.subjects import Plain, make_subject

LIMITS = DriftLimits(psi=AtMost(max=0.2), ks=AtMostShare(max=0.1))
RANDOM = np.random.default_rng(1)
TRAINED = pd.DataFrame(
    {
        "spend": np.where(RANDOM.random(4000) < 0.1, np.nan, RANDOM.normal(50, 10, 4000)),
        "visits": RANDOM.integers(0, 5, 4000),
        "plan": RANDOM.choice(["a", "b"], 4000),
    }
)


def against(features: pd.DataFrame) -> Subject:
    subject = make_subject({n: features[n].to_numpy() for n in features}, [0] * len(features), Plain(lambda _: 0.1))
    return replace(subject, reference=describe(TRAINED, "sha256:1"))


def test_rows_of_the_same_kind_do_not_drift() -> None:
    assert [v.outcome for v in check(against(TRAINED.sample(1000, random_state=1)), LIMITS)] == [
        CheckOutcome.PASS,
        CheckOutcome.PASS,
    ]


@pytest.mark.parametrize(
    ("column", "change", "fails"),
    [
        ("spend", lambda v: v + 10, ["drift.psi", "drift.ks"]),
        ("spend", lambda v: v.where(v > 50), ["drift.psi", "drift.ks"]),
        ("visits", lambda v: v.clip(upper=2), ["drift.psi"]),
        ("plan", lambda v: v.replace("b", "c"), ["drift.psi"]),
    ],
)
def test_a_column_that_moved_is_named_first(column: str, change: object, fails: list[str]) -> None:
    assert callable(change)
    verdicts = check(against(TRAINED.assign(**{column: change(TRAINED[column])})), LIMITS)
    assert [v.name for v in verdicts if v.outcome is CheckOutcome.FAIL] == fails
    assert verdicts[0].reason.startswith(f"largest: {column} ")


def test_a_version_that_records_nothing_of_its_training_data_is_inconclusive() -> None:
    subject = make_subject({"plan": ["a"]}, [0], Plain(lambda _: 0.1))
    assert {v.outcome for v in check(subject, LIMITS)} == {CheckOutcome.INCONCLUSIVE}
    assert "has no record of its training data" in check(subject, LIMITS)[0].reason


@given(
    values=st.lists(st.none() | st.floats(-1e6, 1e6) | st.just(0.0), min_size=1, max_size=60),
)
@settings(max_examples=examples(40), deadline=None)
def test_no_data_is_at_a_distance_from_itself(values: list[float | None]) -> None:
    features = pd.DataFrame({"x": np.array(values, dtype=float)})
    subject = Subject.__new__(Subject)
    object.__setattr__(subject, "reference", Reference.from_json(describe(features, "sha256:1").to_json()))
    object.__setattr__(subject, "data", type("D", (), {"features": features})())
    (found,) = columns(subject)
    assert found.psi == pytest.approx(0, abs=0.25 if features["x"].nunique() > 20 else 1e-9)


@pytest.mark.parametrize("text", ["[]", "{}", '{"digest": 1, "rows": 2, "columns": {"x": 3}}', "no"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a summary|Expecting"):
        Reference.from_json(text)
