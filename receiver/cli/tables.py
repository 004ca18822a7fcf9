"""Text tables that lose nothing in a narrow terminal: columns that do not fit stand beneath their row."""

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from itertools import accumulate, zip_longest
from typing import Any

from ml.live.figures import realised_line
from ml.live.labels import Realised
from receiver.core.redact import plain_lines

GAP = "  "
INDENT = "    "


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], empty: str = "nothing yet") -> str:
    """A table no wider than the terminal, or ``empty`` without rows."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return layout(header, rows, width) if rows else f"{empty}\n"


def layout(header: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None) -> str:
    """A table of at most ``width`` characters; None: as wide as needed.

    Columns that do not fit stand beneath their row, the last one without its name.
    """
    cells = [["-" if cell is None else plain_lines(str(cell)) for cell in row] for row in rows]
    wide = [
        max(len(line) for row in (header, *cells) for line in (row[i].splitlines() or [""]))
        for i in range(len(header))
    ]
    ends = accumulate(columns + len(GAP) for columns in wide)
    room = len(header) if width is None else max(1, sum(end - len(GAP) <= width for end in ends))
    lines = list(_beside(header[:room], wide))
    for row in cells:
        lines += _beside(row[:room], wide)
        if width is not None and room < len(header):
            named = ", ".join(f"{name} {cell}" for name, cell in zip(header[room:-1], row[room:-1], strict=True))
            lines += _beneath(f"{named}\n{row[-1]}", width)
    return "".join(f"{line}\n" for line in lines)


def _beside(row: Sequence[str], wide: Sequence[int]) -> Iterator[str]:
    """A row's lines: several where a cell has several."""
    for parts in zip_longest(*(cell.splitlines() for cell in row), fillvalue=""):
        yield GAP.join(part.ljust(columns) for part, columns in zip(parts, wide, strict=False)).rstrip()


def _beneath(text: str, width: int) -> Iterator[str]:
    for line in text.splitlines():
        yield from textwrap.wrap(line, max(width, 20), initial_indent=INDENT, subsequent_indent=INDENT)


def version(number: int | None) -> str:
    """A version, such as v6."""
    return "-" if number is None else f"v{number}"


def change(old: int | None, new: int | None) -> str:
    """From one version to another."""
    return f"{version(old)} -> {version(new)}"


def first_line(text: str) -> str:
    """The first line; ``--json`` has the rest."""
    return text.partition("\n")[0]


def realised_text(found: Sequence[Realised]) -> str | None:
    """The realised metrics of a version in a few words; None where no label is known."""
    return "; ".join(realised_line(each) for each in found) or None
