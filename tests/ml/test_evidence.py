import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.evidence import CheckOutcome, Evidence, Verdict
from tests.support.evidence import EVIDENCE
from tests.support.examples import examples


def test_what_was_written_is_read_again() -> None:
    assert Evidence.from_json(EVIDENCE.to_json()) == EVIDENCE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", "2"),
        ("version", True),
        ("model", None),
        ("measured_at", "now"),
        ("model_digest", 5),
        ("verdicts", None),
        ("verdicts", [5]),
        ("surprise", 1),
    ],
)
def test_a_record_with_a_field_that_is_wrong_is_no_evidence(field: str, value: object) -> None:
    raw = {**json.loads(EVIDENCE.to_json()), field: value}
    with pytest.raises(ValueError, match="no evidence record"):
        Evidence.from_json(json.dumps(raw))


def test_evidence_of_a_newer_pinrail_says_what_to_do() -> None:
    raw = {**json.loads(EVIDENCE.to_json()), "surprise": 1}
    with pytest.raises(ValueError, match="this Pinrail does not know surprise: upgrade it"):
        Evidence.from_json(json.dumps(raw))


@pytest.mark.parametrize(("field", "value"), [("value", "high"), ("threshold", None), ("name", 3), ("op", ["<"])])
def test_a_verdict_with_a_field_that_is_wrong_is_no_evidence(field: str, value: object) -> None:
    raw = json.loads(EVIDENCE.to_json())
    raw["verdicts"][0][field] = value
    with pytest.raises(ValueError, match="no evidence record"):
        Evidence.from_json(json.dumps(raw))


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=6,
)


@given(value=JSON, field=st.sampled_from([*json.loads(EVIDENCE.to_json()), "verdicts"]))
@settings(max_examples=examples(60), deadline=None)
def test_whatever_stands_in_a_record_it_is_evidence_or_a_value_error(value: Any, field: str) -> None:
    try:
        found = Evidence.from_json(json.dumps({**json.loads(EVIDENCE.to_json()), field: value}))
    except ValueError:
        return
    assert [str(verdict) for verdict in found.verdicts] or not found.passed


def test_what_a_row_or_a_model_says_can_not_drive_a_terminal() -> None:
    verdict = Verdict("a\nPASS: b", CheckOutcome.FAIL, 0.1, "<", 0.2, "\x1b[31mred\r\n::set-output")
    assert str(verdict) == "FAIL: a PASS: b=0.1 < 0.2"
    assert verdict.reason == " [31mred  ::set-output"


def test_evidence_without_verdicts_has_not_passed() -> None:
    assert not Evidence.from_json(json.dumps({**json.loads(EVIDENCE.to_json()), "verdicts": []})).passed
