"""Running the gate on one version: ``python -m ml.evaluate`` as a program of its own.

It has a deadline and none of our secrets but the registry's, and loads no model: each version answers in a server
of its own. Its verdict is the evidence that it leaves in the registry.
"""

import os
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ml.datasets.own_rows import LABEL
from ml.evidence_key import NAME, EvidenceKey
from ml.packages.build import index_variables
from receiver.adapters import shell
from receiver.core.errors import Rejected
from receiver.core.state import Slot
from serving.lifecycle import launch
from serving.model.download import MOST_MB

GATE_SECONDS = 900.0
SHOWN_LINES = 5


@dataclass(frozen=True, slots=True)
class GateRunner:
    """``rows`` is what PINRAIL_EVALUATION_DIR names; what the gate says is kept in ``logs``, a file per version.

    ``requests``: the inference logs. ``key`` signs the evidence. ``packages``: where the packages of versions are.
    ``version_mb``: how large a version may be.
    ``confine``: versions, as where they serve.
    """

    tracking_uri: str
    logs: Path
    rows: Path | None = None
    requests: Path | None = None
    key: EvidenceKey | None = None
    packages: Path | None = None
    version_mb: float = MOST_MB
    confine: bool = True

    def run(self, slot: Slot, version: int, files: Mapping[str, bytes], stop: threading.Event) -> None:
        """Measure a version for every environment of ``files``, and have the evidence recorded.

        Rejected: it could not be measured, with the gate's last log lines. Retryable: not now.
        """
        with tempfile.TemporaryDirectory(prefix="pinrail-gate-") as directory:
            for path, content in files.items():
                (Path(directory) / PurePosixPath(path).name).write_bytes(content)
            output = shell.run(
                [
                    *(sys.executable, "-m", "ml.evaluate", "--model", slot.model, "--version", str(version)),
                    *("--environment", slot.environment, "--environments-dir", directory),
                    *self._rows(slot.model),
                    *(() if self.requests is None else ("--requests", str(self.requests))),
                    *("--version-mb", f"{self.version_mb:g}"),
                    *(() if self.packages is None else ("--packages", str(self.packages.absolute()))),
                    *(() if self.confine else ("--unconfined",)),
                ],
                environment=self._environment(),
                timeout=GATE_SECONDS,
                directory=Path(directory),
                stop=stop,
            )
        self.logs.mkdir(parents=True, exist_ok=True)
        (self.logs / f"gate-{slot.model}-v{version}.log").write_text(output.stderr + output.stdout)
        judged = any(line.startswith(("PASS: ", "FAIL: ", "INCONCLUSIVE: ")) for line in output.stdout.splitlines())
        if not judged:
            last = "\n".join(output.stderr.splitlines()[-SHOWN_LINES:])
            raise Rejected(f"the gate could not measure {slot.model} v{version}:\n{last}")

    def _environment(self) -> dict[str, str]:
        """What a model server and uv get; how patient its MLflow client is, the gate decides for itself."""
        given = index_variables(os.environ) | launch.environment(os.environ, registry=True)
        given |= {"MLFLOW_TRACKING_URI": self.tracking_uri}
        given |= {NAME: self.key.pem} if self.key is not None else {}
        return {name: value for name, value in given.items() if not name.startswith("MLFLOW_HTTP_REQUEST_")}

    def _rows(self, model: str) -> list[str]:
        """Name the evaluation rows of a model; none: those that ml.evaluate has by itself."""
        if self.rows is None:
            return []
        if (self.rows / model).is_dir():
            return ["--snapshots", str(self.rows / model)]
        file = self.rows / f"{model}.csv"
        if not file.is_file():
            raise Rejected(
                f"there are no evaluation rows for {model}: put them into {file}, or into {self.rows / model}/"
            )
        return ["--data", str(file), "--label", LABEL]
