"""Tables for people and JSON for programs, on standard output."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from receiver.core.redact import plain_lines

PIPED_WIDTH = 400  # piped into a file or another program, a table is as wide as it needs to be


def print_json(value: Any) -> None:
    """Print JSON, indented."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table. The last column gives way where the terminal is narrow: the others say what a row is about."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        sys.stdout.write("nothing yet\n")
        return
    cells = [["-" if cell is None else plain_lines(str(cell)) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(header):
        widest = max(len(line) for row in cells for line in (name, *row[place].splitlines()))
        last = place == len(header) - 1
        table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=None if last else widest)
    for row in cells:
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)


def version(number: int | None) -> str:
    """A version as people write it."""
    return "-" if number is None else f"v{number}"


def clock(seconds: float) -> str:
    """Seconds since the epoch as local time, for a table."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def first_line(text: str) -> str:
    """The first line; the rest is for those who ask for JSON."""
    return text.partition("\n")[0]
