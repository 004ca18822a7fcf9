"""Ask a version's ONNX twin, which answers in production, and the model itself about the same rows."""

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ml.errors import MlError
from ml.evaluation.records import to_records
from ml.evaluation.server_process import Artifacts, Limits, VersionServer, serving
from ml.evaluation.twin_probes import probes
from ml.evidence import Verdict
from ml.gates import onnx_twin
from ml.gates.subject import Record, Subject

ONNX = "onnx"
ORIGINAL = "original"  # the runtime that is not the ONNX twin
STEPS = "rows next to a step of the model"
SEARCH_SECONDS = 20.0  # a model that is too slow to be searched in this time is compared on the evaluation rows


def compare(server: VersionServer, artifacts: Artifacts, subject: Subject, limits: Limits) -> Sequence[Verdict]:
    """Return a verdict if the version is served by a twin that does not answer like the model itself.

    They are asked about the evaluation rows, and a hair before and behind each step of the model between them.
    """
    if server.runtime != ONNX:
        return []
    try:
        with serving(artifacts, limits, ORIGINAL) as original:
            found = onnx_twin.check(subject.answers, original.predict_records(subject.records))
            records = [] if found else _steps(original, subject)
            if records:
                found = onnx_twin.check(server.predict_records(records), original.predict_records(records), STEPS)
            return found
    except MlError as error:
        return onnx_twin.unknown(str(error))


def _steps(original: VersionServer, subject: Subject) -> Sequence[Record]:
    """Rows on both sides of each step of a classifier; none for a regression, or where the search takes too long."""
    if subject.answers.probabilities is None:
        return []
    until = time.monotonic() + SEARCH_SECONDS

    def ask(rows: pd.DataFrame) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
        if time.monotonic() > until:
            raise TimeoutError
        answers = original.predict_records(to_records(rows, subject.columns))
        if answers.probabilities is None:
            raise MlError(f"{original.name} gives no probabilities, though its twin does")
        return answers.probabilities

    features = subject.data.features[[c.name for c in subject.columns if c.name in subject.data.features]]
    try:
        return to_records(probes(ask, features, onnx_twin.TOLERANCE), subject.columns)
    except TimeoutError:
        return []
