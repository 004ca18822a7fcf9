"""What model servers left in a directory of segments."""

from collections.abc import Sequence
from pathlib import Path

from serving.inference_log.segment import SUFFIX, Record, read


def segments(directory: Path) -> list[Path]:
    """Those that are complete, oldest first."""
    return sorted(directory.glob(f"[!.]*{SUFFIX}"))


def recorded(directory: Path) -> Sequence[Record]:
    """All their records."""
    return [record for path in segments(directory) for record in read(path.read_bytes())[1]]
