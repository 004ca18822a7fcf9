"""``python -m ml.snapshot``: split the customers into training and evaluation rows, as files for DVC.

The files are the same bytes for the same customers, whatever order they come in. ``dvc.yaml`` runs this first.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml.errors import MlError

if TYPE_CHECKING:
    from ml.datasets.dataset import Dataset

TRAINING, EVALUATION, REFERENCE = "training.csv", "evaluation.csv", "reference.json"


def write(source: Path | None, directory: Path) -> None:
    """Write the three snapshots. MlError: the source is not valid."""
    from ml.datasets import telco
    from ml.datasets.dataset import split
    from ml.reference import describe

    parts = dict(zip((TRAINING, EVALUATION), split(telco.load(source or telco.PATH)), strict=True))
    directory.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        labels = [telco.COLUMNS.classes[code] for code in part.labels]
        part.features.assign(**{telco.COLUMNS.label: labels}).to_csv(
            directory / name, index=False, lineterminator="\n"
        )
    training = parts[TRAINING]
    (directory / REFERENCE).write_text(describe(training.features, training.digest).to_json() + "\n")


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
    given = parser.parse_args(arguments)
    try:
        write(given.data, given.directory)
    except (MlError, OSError) as error:
        sys.stderr.write(f"no snapshots: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
