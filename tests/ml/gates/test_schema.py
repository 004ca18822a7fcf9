from collections.abc import Sequence
from dataclasses import replace

import pytest

from ml.environment.gate_schema import AtMostCount
from ml.evidence import CheckOutcome
from ml.gates.schema import breaks, check
from ml.gates.subject import Champion
from serving.model.model_dir import Column
from tests.support.subjects import Plain, make_subject

BEFORE = (Column("age", "long"), Column("spend", "double", required=False), Column("plan", "string"))


def changed(**columns: Column) -> list[Column]:
    return [columns.get(c.name, c) for c in BEFORE]


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (BEFORE, []),
        (changed(age=Column("age", "double")), []),
        (changed(age=Column("age", "long", required=False)), []),
        ([*BEFORE, Column("new", "long", required=False)], []),
        (BEFORE[1:], ["field age was removed, and unknown fields are refused"]),
        ([*BEFORE, Column("new", "long")], ["field new is new and required"]),
        (changed(age=Column("age", "string")), ["field age was long, now string"]),
        (changed(spend=Column("spend", "long", required=False)), ["field spend was double, now long"]),
        (changed(spend=Column("spend", "double")), ["field spend was optional, and is now required"]),
        (BEFORE[::-1], ["the fields are in another order, which matters to requests without field names"]),
        (
            [Column("years", "long"), *BEFORE[1:]],
            ["field age was removed, and unknown fields are refused", "field years is new and required"],
        ),
    ],
)
def test_what_refuses_a_request_that_was_fine_is_named_field_by_field(
    after: Sequence[Column], says: list[str]
) -> None:
    assert breaks(BEFORE, after) == says


def test_breaking_the_live_versions_callers_fails_and_a_first_version_breaks_nobody() -> None:
    subject = make_subject({"age": [1, 2]}, [0, 1], Plain(lambda _: 0.1))
    (first,) = check(subject, AtMostCount(max=0))
    assert first.outcome is CheckOutcome.PASS
    unknown = replace(subject, champion=Champion("m v1", (), "", None, "m v1 can't be compared"))
    assert check(unknown, AtMostCount(max=0))[0].outcome is CheckOutcome.INCONCLUSIVE
    live = replace(subject, champion=Champion("m v1", BEFORE, "int64 [-1]", None))
    (verdict,) = check(live, AtMostCount(max=0))
    assert str(verdict) == "FAIL: schema=3 > 0"
    assert "field spend was removed" in verdict.reason
    assert "answers were int64 [-1], now undescribed" in verdict.reason
