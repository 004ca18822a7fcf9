"""``pinrail key``: who stands for evidence, as environment files name it."""

from pathlib import Path

from ml.errors import MlError
from ml.evidence_key import read_key
from receiver.core.errors import Rejected
from receiver.settings import read_settings


def public_key(file: Path | None) -> str:
    """The public key of this private key, else of the one in the settings or the state directory.

    Rejected: there is none, or it cannot be read.
    """
    if file is None:
        return read_settings().evidence_key.public
    try:
        return read_key(file).public
    except MlError as error:
        raise Rejected(str(error)) from error
