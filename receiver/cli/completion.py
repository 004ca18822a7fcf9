"""What the shell completes: the names in the environment files of the directory that one is in."""

from pathlib import Path

from ml.environment.file import Environment
from ml.errors import MlError
from receiver.cli.commands.check import read_files
from receiver.core.errors import PinrailError
from receiver.core.pins import read_pins


def environments(incomplete: str) -> list[str]:
    """The environments whose names begin so."""
    return [found.name for found in _known() if found.name.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """The models, pinned in any environment, whose names begin so."""
    return sorted({model for found in _known() for model in found.models if model.startswith(incomplete)})


def _known() -> tuple[Environment, ...]:
    try:
        return read_pins(read_files(Path())).environments
    except (PinrailError, MlError):  # nothing to complete from
        return ()
