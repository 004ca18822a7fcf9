"""Ask a version's ONNX twin, which answers in production, and the model itself about the same rows."""

from collections.abc import Sequence

from ml.errors import MlError
from ml.evaluation.server_process import Artifacts, Limits, VersionServer, serving
from ml.evidence import Verdict
from ml.gates import onnx_twin
from ml.gates.subject import Subject

ONNX = "onnx"
ORIGINAL = "original"  # the runtime that is not the ONNX twin


def compare(server: VersionServer, artifacts: Artifacts, subject: Subject, limits: Limits) -> Sequence[Verdict]:
    """Return a verdict if the version is served by a twin that does not answer like the model itself."""
    if server.runtime != ONNX:
        return []
    try:
        with serving(artifacts, limits, ORIGINAL) as original:
            return onnx_twin.check(subject.answers, original.predict_records(subject.records))
    except MlError as error:
        return onnx_twin.unknown(str(error))
