"""The file with evaluation rows: the columns of the signature, and the answers to fill in."""

import csv
import os
from pathlib import Path

from ml.datasets.own_rows import LABEL
from receiver.core.errors import Rejected
from serving.model.model_dir import input_example, read


def write_rows(path: Path, model: Path) -> bool:
    """Write the columns of the model in the directory ``model``, and its example rows without answers.

    Returns False, and writes nothing, where the file is there already. Rejected: its directory is a file.
    """
    if os.path.lexists(path):
        return False
    columns = [column.name for column in read(model).columns]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise Rejected(f"{path.parent}: found a file, allowed a directory for evaluation rows: rename it") from None
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, LABEL])
        for row in input_example(model):
            writer.writerow([*("" if row.get(name) is None else row[name] for name in columns), ""])
    return True
