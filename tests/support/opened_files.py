"""Which files and directories this process opens, as Python's audit events tell it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EVENTS = frozenset({"open", "os.listdir", "os.scandir"})

_watched: list[tuple[Path, list[str]]] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if not _watched or event not in EVENTS or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path = Path(os.fsdecode(arguments[0]))
    for directory, opened in _watched:
        if path.is_relative_to(directory):
            opened.append(str(path.relative_to(directory)))


sys.addaudithook(_note)  # it cannot be taken away again, so there is one for all


@contextmanager
def opened_below(directory: Path) -> Iterator[list[str]]:
    """Collect what is opened or listed below a directory, by any thread of this process."""
    entry: tuple[Path, list[str]] = (directory, [])
    _watched.append(entry)
    try:
        yield entry[1]
    finally:
        _watched.remove(entry)
