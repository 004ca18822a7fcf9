"""Text tables that lose nothing in a narrow terminal: columns that do not fit stand beneath their row."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate, zip_longest
from typing import Any

from ml.live.figures import realised_line
from ml.live.labels import Realised
from receiver.admin.health import tone
from receiver.core.redact import plain_lines

GAP = "  "
INDENT = "    "
STATES = ("state", "outcome")  # the columns with words that have a colour
COLOURS = {"good": "32", "busy": "34", "warn": "33", "bad": "31", "alarm": "1;41;97"}  # as a terminal names them


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], empty: str = "nothing yet") -> str:
    """A table no wider than the terminal, with coloured states on one, or ``empty`` without rows."""
    on_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if on_terminal else None
    coloured = on_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return layout(header, rows, width, coloured=coloured) if rows else f"{empty}\n"


def layout(header: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None, *, coloured: bool = False) -> str:
    """A table of at most ``width`` characters; None: as wide as needed. ``coloured``: the states in it are.

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
    states = [place for place, name in enumerate(header) if name in STATES] if coloured else []
    for row in cells:
        lines += _beside(row[:room], wide, states)
        if width is not None and room < len(header):
            named = ", ".join(f"{name} {cell}" for name, cell in zip(header[room:-1], row[room:-1], strict=True))
            lines += _beneath(f"{named}\n{row[-1]}", width)
    return "".join(f"{line}\n" for line in lines)


def _beside(row: Sequence[str], wide: Sequence[int], states: Collection[int] = ()) -> Iterator[str]:
    """A row's lines: several where a cell has several. ``states``: the columns that are coloured."""
    for parts in zip_longest(*(cell.splitlines() for cell in row), fillvalue=""):
        padded = [part.ljust(columns) for part, columns in zip(parts, wide, strict=False)]
        yield GAP.join(_coloured(cell) if place in states else cell for place, cell in enumerate(padded)).rstrip()


def _coloured(cell: str) -> str:
    word = re.sub(r" \(x\d+\)", "", cell).strip()  # an outcome may have been repeated
    colour = COLOURS.get(tone(word))
    return cell.replace(word, f"\x1b[{colour}m{word}\x1b[0m") if colour else cell


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
