"""Whether a model that serves on this machine is really kept from what is the receiver's: tried, not believed."""

import os
import sys
import tempfile
from functools import cache
from pathlib import Path

from receiver.adapters import shell
from receiver.core.errors import PinrailError
from serving.confinement import confine
from serving.lifecycle import launch

PROBE = "serving.confinement"
SECONDS = 20.0


def why_unconfined(*, wanted: bool) -> str:
    """Why a model has the rights of this user; empty: it has not. ``wanted``: the setting."""
    return _why_not_here() if wanted else "PINRAIL_CONFINE is false"


@cache
def _why_not_here() -> str:
    if lacks := confine.missing():
        return lacks
    with tempfile.TemporaryDirectory(prefix="pinrail-confined-") as directory:
        private, file = Path(directory) / "private", Path(directory) / "file"
        private.mkdir()
        file.write_text("not for models")
        try:
            tried = shell.run(
                [sys.executable, "-P", "-m", PROBE, str(private), str(file)],
                environment=launch.environment(os.environ, registry=False) | launch.private(private),
                timeout=SECONDS,
            )
        except PinrailError as error:
            return f"whether a model can be confined is not known: {error}"
    if tried.status == 0:
        return ""
    possible = tried.stdout.strip() or tried.stderr.strip()[-300:]
    return f"a confined process could do this here all the same: {possible}"
