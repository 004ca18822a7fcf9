"""``pinrail check``: validate the pins of a work tree as the receiver will. Needs no settings or secrets."""

from pathlib import Path

from receiver.core.errors import Rejected
from receiver.core.pins import FOLDER, is_environment_file, read_pins


def check_pins(directory: Path) -> str:
    """The pins, one per line. Rejected: lists all errors, one per line."""
    desired = read_pins(_read(directory))
    return "\n".join(
        f"{environment.name}: {pin.model} v{pin.version} on port {pin.port}"
        for environment in desired.environments
        for pin in environment.models.values()
    )


def _read(directory: Path) -> dict[str, bytes]:
    files = {}
    try:
        for path in sorted((directory / FOLDER).iterdir()):
            name = str(FOLDER / path.name)
            if is_environment_file(name):
                if path.is_symlink() or not path.is_file():
                    raise Rejected(f"{name}: found no regular file, allowed one: replace it with its content")
                files[name] = path.read_bytes()
    except OSError as error:
        raise Rejected(f"{error.filename}: {error.strerror}") from error
    return files
