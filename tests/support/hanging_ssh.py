"""A transport for real git that accepts and says nothing for as long as a file is there."""

import stat
from pathlib import Path


def hanging_ssh(directory: Path) -> tuple[str, Path]:
    """A command for GIT_SSH_COMMAND, and the file whose presence makes it hang."""
    command, hangs = directory / "hanging-ssh", directory / "hangs"
    command.write_text(
        f'#!/bin/sh\n[ "$1" = -G ] && exit 1\n[ -e "{hangs}" ] && exec sleep 600\n'
        'for last; do :; done\nexec sh -c "$last"\n'
    )
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return str(command), hangs
