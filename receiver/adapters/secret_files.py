"""Secrets from files: ``NAME_FILE`` names one, or systemd's credentials directory has one called ``NAME``.

A secret that is in a file is in no environment: not in that of the service manager, and not in that of its children.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from receiver.core.errors import Rejected

SUFFIX = "_FILE"
SYSTEMD = "CREDENTIALS_DIRECTORY"  # what LoadCredential= makes
LARGEST_BYTES = 16 << 10


def read_secret_files(names: Collection[str], environment: Mapping[str, str]) -> Mapping[str, str]:
    """The secrets that are in files, by the name of their setting; a last line break does not count.

    Rejected: a secret is given twice, or its file cannot be read.
    """
    found = {}
    for name in names:
        path = _path(name, environment)
        if path is None:
            continue
        if environment.get(name):
            raise Rejected(f"{name} is set, and so is the file {path}: keep the file, and remove {name}")
        found[name] = _read(name, path)
    return found


def _path(name: str, environment: Mapping[str, str]) -> Path | None:
    if named := environment.get(name + SUFFIX):
        return Path(named).expanduser()
    directory = environment.get(SYSTEMD)
    if not directory:
        return None
    candidates = (Path(directory) / spelt for spelt in (name, name.lower()))
    return next((path for path in candidates if path.is_file()), None)


def _read(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Rejected(f"{name}: {path} cannot be read: {why}") from error
    if len(raw) > LARGEST_BYTES:
        raise Rejected(f"{name}: {path} is larger than {LARGEST_BYTES >> 10} KiB: is it the secret's file?")
    return text.removesuffix("\n").removesuffix("\r")
