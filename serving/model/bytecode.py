"""No bytecode of a version's own modules is kept beside them: with a file more, its digest would be another."""

from importlib.machinery import SourceFileLoader
from pathlib import Path

_write = SourceFileLoader.set_data
_left_alone: set[Path] = set()


def keep_out_of(directory: Path) -> None:
    """Have Python write no bytecode below this directory, for as long as this process runs."""
    SourceFileLoader.set_data = _write_elsewhere  # type: ignore[method-assign, assignment]
    _left_alone.add(directory.resolve())


def _write_elsewhere(loader: SourceFileLoader, path: str, data: bytes, *, _mode: int = 0o666) -> None:
    if _left_alone.isdisjoint(Path(path).resolve().parents):
        _write(loader, path, data, _mode=_mode)
