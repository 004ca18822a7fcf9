"""``python -m ml.snapshot``: split the customers into training and evaluation rows, as files for DVC.

The files are the same bytes for the same customers, whatever order they come in. ``dvc.yaml`` runs this first.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml.errors import MlError

if TYPE_CHECKING:
    from ml.datasets.dataset import Dataset

TRAINING, EVALUATION, REFERENCE = "training.csv", "evaluation.csv", "reference.json"
LINEAGE = "lineage.json"  # where the rows come from an inference log
LOGS = Path(".pinrail") / "inference"


def write(source: Path | None, directory: Path) -> None:
    """Write the three snapshots. MlError: the source is not valid."""
    from ml.datasets import telco
    from ml.datasets.dataset import split
    from ml.datasets.reference import describe

    parts = dict(zip((TRAINING, EVALUATION), split(telco.load(source or telco.PATH)), strict=True))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / LINEAGE).unlink(missing_ok=True)  # of the rows that were there before
    for name, part in parts.items():
        labels = [telco.COLUMNS.classes[code] for code in part.labels]
        part.features.assign(**{telco.COLUMNS.label: labels}).to_csv(
            directory / name, index=False, lineterminator="\n"
        )
    training = parts[TRAINING]
    (directory / REFERENCE).write_text(describe(training.features, training.digest).to_json() + "\n")


def write_logged(logs: Path, slot: tuple[str, str], directory: Path) -> None:
    """Write the snapshots of recorded rows with their labels, and where they come from. MlError: there are none."""
    from ml.datasets import telco
    from ml.live.logged_rows import labelled_rows

    rows, source = labelled_rows(logs, slot, telco.COLUMNS)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "logged.csv"
        rows.to_csv(file, index=False, lineterminator="\n")
        write(file, directory)
    (directory / LINEAGE).write_text(json.dumps(source.lineage(), indent=1) + "\n")


def lineage(directory: Path) -> str | None:
    """Where the rows come from, as JSON on one line; None: from no inference log."""
    file = directory / LINEAGE
    return json.dumps(json.loads(file.read_text())) if file.is_file() else None


def read(directory: Path) -> "tuple[Dataset, Dataset]":
    """Read training and evaluation rows. MlError: they are missing or not valid."""
    from ml.datasets import telco

    return telco.load(directory / TRAINING), telco.load(directory / EVALUATION)


def checksums(directory: Path) -> dict[str, str]:
    """Return the MD5 of each snapshot: DVC's name for it."""
    return {
        name: hashlib.md5((directory / name).read_bytes(), usedforsecurity=False).hexdigest()
        for name in (TRAINING, EVALUATION, REFERENCE)
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.snapshot",
        description="Write training.csv, evaluation.csv and reference.json, a summary of the training data.",
    )
    parser.add_argument("directory", type=Path, help="where to write them")
    parser.add_argument("--data", type=Path, metavar="CSV", help="split this file instead of the committed one")
    parser.add_argument(
        "--from-log", nargs=2, metavar=("ENV", "MODEL"), help="take what this model was asked, from its inference log"
    )
    parser.add_argument("--labelled", action="store_true", help="with --from-log: the rows whose labels are known")
    parser.add_argument("--logs", type=Path, default=LOGS, metavar="DIR", help=f"the inference logs ({LOGS})")
    given = parser.parse_args(arguments)
    if (given.from_log is not None) != given.labelled or (given.from_log and given.data):
        parser.error("--from-log goes with --labelled, for only labelled rows can be trained on, and without --data")
    try:
        if given.from_log:
            write_logged(given.logs, tuple(given.from_log), given.directory)
        else:
            write(given.data, given.directory)
    except (MlError, OSError) as error:
        sys.stderr.write(f"no snapshots: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
