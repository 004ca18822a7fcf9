"""The content address of a model version: equal files have equal digests."""

import hashlib
from pathlib import Path

# MLflow's client writes this into whatever directory it downloads a registered model to; it is not content.
NOT_CONTENT = frozenset({"registered_model_meta"})


def digest_tree(root: Path) -> str:
    """Return ``sha256:<hex>`` over every file below ``root``: its relative path and its bytes.

    The order of the directory does not matter; empty directories do not count; links are followed.
    """
    lines = []
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        if name not in NOT_CONTENT:
            name = name.replace("\\", "\\\\").replace("\n", "\\n")  # as sha256sum does: a line is one file
            with path.open("rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def bytes_below(directory: Path) -> int:
    """The size of all files below a directory; of those that are still there."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:
            continue
    return total
