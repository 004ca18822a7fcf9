"""``pinrail check``: validate the pins of a work tree as the receiver will. Needs no settings or secrets."""

from collections.abc import Iterator
from pathlib import Path

from ml.environment.file import Environment
from receiver.core.errors import Rejected
from receiver.core.pins import FOLDER, is_environment_file, read_pins


def check_pins(directory: Path) -> str:
    """The pins, one per line. Rejected: lists all errors, one per line."""
    desired = read_pins(read_files(directory))
    return "\n".join(line for environment in desired.environments for line in _lines(environment))


def _lines(environment: Environment) -> Iterator[str]:
    if not environment.models:
        yield f"{environment.name}: no models"
    for pin in environment.models.values():
        yield f"{environment.name}: {pin.model} v{pin.version} on port {pin.port}"


def read_files(directory: Path) -> dict[str, bytes]:
    """The environment files of a work tree, by their path in it. Rejected: they cannot be read."""
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
