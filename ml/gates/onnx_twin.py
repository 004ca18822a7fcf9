"""Whether a version's ONNX twin answers as the model itself does: said only if it does not."""

import math
from collections.abc import Sequence

import numpy as np

from ml.evidence import CheckOutcome, Verdict
from ml.gates.answers import Answers, Array

NAME = "onnx_twin"
TOLERANCE = 1e-5  # of a probability: what 32-bit arithmetic explains
SHARE = 1e-4  # of a number, the same
ADVICE = "write the twin again with ml.onnx_twin.add, which compares the two, or register the version without it"


def check(twin: Answers, original: Answers, rows: str = "rows") -> Sequence[Verdict]:
    """Compare both answers to the same rows; ``rows`` says what they are."""
    off = differences(twin, original)
    if not off.any():
        return []
    decided = off & (twin.labels != original.labels)
    row, count = int(np.argmax(decided if decided.any() else off)), int(off.sum())
    says = (
        f"{count:,} of {len(off):,} {rows} are answered otherwise than by the model itself, such as"
        f" {original.shown(row)} as {twin.shown(row)}: {ADVICE}"
    )
    return [Verdict(NAME, CheckOutcome.FAIL, count, ">", 0.0, says)]


def unknown(reason: str) -> Sequence[Verdict]:
    """The verdict where the model itself does not answer."""
    says = f"the model itself, which the ONNX twin should answer like, can't be asked: {reason}"
    return [Verdict(NAME, CheckOutcome.INCONCLUSIVE, math.nan, "not known to be <=", 0.0, says)]


def differences(twin: Answers, original: Answers) -> Array:
    """Say per row whether the answers differ by more than arithmetic does."""
    ours, theirs = twin.labels, original.labels
    if ours.dtype.kind == "f" and theirs.dtype.kind == "f" and original.probabilities is None:
        return ~np.isclose(ours, theirs, rtol=SHARE, atol=TOLERANCE)
    off = np.asarray(ours != theirs, dtype=bool)
    if twin.probabilities is None or original.probabilities is None:
        return off
    if twin.probabilities.shape != original.probabilities.shape:
        return np.ones(len(ours), dtype=bool)
    sorted_ = np.sort(original.probabilities, axis=1)
    level = sorted_[:, -1] - sorted_[:, -2] <= TOLERANCE  # then either label is right
    far = np.abs(twin.probabilities - original.probabilities).max(axis=1) > TOLERANCE
    return np.asarray(far | (off & ~level))
