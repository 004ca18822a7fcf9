"""``data``: whether the version was measured on exactly the rows that the environment requires."""

from collections.abc import Sequence

from ml.environment.gate_schema import EvaluationData
from ml.evidence import CheckOutcome, Verdict
from ml.gates.subject import Subject


def check(subject: Subject, wanted: EvaluationData) -> Sequence[Verdict]:
    """Compare the digest of the rows."""
    same = subject.data.digest == wanted.digest
    outcome, op = (CheckOutcome.PASS, ">=") if same else (CheckOutcome.FAIL, "<")
    return [
        Verdict(
            "data", outcome, float(same), op, 1.0, f"measured on {len(subject.data):,} rows, {subject.data.digest}"
        )
    ]
