"""Where evaluation rows of one's own are looked for."""

from pathlib import Path

DIRECTORY = Path("evaluation")  # a file per model, in the directory in which the gate is started
LABEL = "label"  # the column of the true answers


def own_rows(model: str) -> Path:
    """The file of one model."""
    return DIRECTORY / f"{model}.csv"
