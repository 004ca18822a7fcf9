"""An ``ngrok`` on PATH that is the stand-in."""

import sys
from pathlib import Path

from tests.support import ngrok_stand_in


def install_ngrok(directory: Path) -> Path:
    """Write the program into the directory, made where it does not exist. Returns its path."""
    program = directory / "ngrok"
    directory.mkdir(parents=True, exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {ngrok_stand_in.__file__} "$@"\n')
    program.chmod(0o755)
    return program
