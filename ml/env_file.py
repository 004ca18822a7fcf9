"""The one reader of ``.env``: what it says is the same for training, the gate and the receiver.

``NAME=value`` lines. Nothing in a value is expanded, so ``$`` and ``&`` may stand in a password; quotes around
a value are optional and taken off, and a ``#`` after a space begins a comment outside of them.

A file that git tracks is refused: whoever can change the repository would choose the registry that gets the
credentials, and whoever clones it would have the secrets. For the same reason, a credential that comes from the
environment is not sent to an address that comes from the file.
"""

import io
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from dotenv.parser import parse_stream

from ml.errors import MlError

ENV_FILE = Path(".env")
# What libraries below us read from the environment alone: the registry's credentials, and those of artifact stores.
LIBRARIES = ("MLFLOW_", "DATABRICKS_", "AWS_", "AZURE_", "GOOGLE_")
GIT_SECONDS = 10.0
# Credentials, and the addresses that they are sent to.
Destinations = Mapping[Sequence[str], Sequence[str]]
REGISTRY: Destinations = {
    ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"): ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"),
    ("DATABRICKS_TOKEN", "DATABRICKS_CLIENT_SECRET"): ("DATABRICKS_HOST",),
    ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"): (
        "MLFLOW_S3_ENDPOINT_URL",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
    ),
}
ANYBODYS = ("github.com", "api.github.com", "127.0.0.1", "localhost", "::1")  # a file gains nothing by naming these
TRAINING = ("MODEL_NAME", "DATA_VERSION", "ACCURACY_THRESHOLD")


def read_env_file(file: Path = ENV_FILE) -> dict[str, str]:
    """What a file sets; nothing where there is no file. MlError: git tracks it, or it cannot be read.

    No value is shown.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise MlError(f"{file}: found bytes that are not UTF-8 at byte {error.start}: save it as UTF-8") from None
    except OSError as error:
        raise MlError(f"{file}: {error.strerror}: make it readable for this user") from error
    if _is_tracked(file.absolute()):
        raise MlError(
            f"{file}: git tracks it, so it is as public as the repository: `git rm --cached {file.name}`, add it to "
            ".gitignore, and renew the secrets that were in it"
        )
    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            line = binding.original.line + len(binding.original.string) - len(binding.original.string.lstrip("\n"))
            raise MlError(
                f"{file}:{line}: found no setting, allowed NAME=value: put a value with quotes into other quotes"
            )
        if binding.key is not None:
            found[binding.key] = binding.value or ""
    return found


def export_env_file(*names: str) -> None:
    """Put what LIBRARIES and ``names`` begin with into the environment, which wins where it says something else."""
    found = read_env_file()
    require_one_source(REGISTRY, found)
    for name, value in found.items():
        if name.startswith((*LIBRARIES, *names)) and value and not os.environ.get(name):
            os.environ[name] = value


def require_one_source(destinations: Destinations, found: Mapping[str, str]) -> None:
    """MlError: a credential of the environment would go to an address that ``found``, the file, names."""
    for credentials, addresses in destinations.items():
        ours = [name for each in credentials for name in (each, f"{each}_FILE") if os.environ.get(name)]
        theirs = [
            name
            for name in addresses
            if found.get(name) and not os.environ.get(name) and not _anybodys(_with_scheme(name, found[name]))
        ]
        if ours and theirs:
            raise MlError(
                f"{ours[0]} is in the environment, and the address that it would be sent to, {theirs[0]}, is in "
                f"{ENV_FILE}: set both in the same place"
            )


def _with_scheme(name: str, address: str) -> str:
    return address if name != "DATABRICKS_HOST" or "://" in address else f"https://{address}"


def _anybodys(address: str) -> bool:
    """Whether the address is GitHub's own or this machine's, or gets no credential of ours, such as ssh."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return "\\" not in address and (parts.hostname in ANYBODYS or parts.scheme not in {"http", "https"})


def _is_tracked(file: Path) -> bool:
    """Whether the file is in the index of the work tree that it lies in. Nothing of the repository is run."""
    if not any((parent / ".git").exists() for parent in file.parents):
        return False
    options = ("-c", "core.fsmonitor=false", "-c", "safe.directory=*", "-C", str(file.parent))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        asked = subprocess.run(
            ["git", *options, "ls-files", "--error-unmatch", "--", file.name],  # noqa: S607 - git from PATH
            env=environment,
            capture_output=True,
            check=False,
            timeout=GIT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):  # no git: nobody made a commit on this machine
        return False
    return asked.returncode == 0
