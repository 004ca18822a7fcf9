"""An environment of its own for each peer, below .venv-bench/, from its hash-locked requirements."""

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.bench.wrk import BenchError

ROOT = Path(__file__).parent.parent.parent
HOME = ROOT / ".venv-bench"
OWN = Path(sys.executable).parent  # Pinrail's bin directory
INSTALL_SECONDS = 900


def binaries(name: str | None) -> Path:
    """The bin directory of a peer's environment; None: Pinrail's own."""
    return HOME / name / "bin" if name else OWN


def install(name: str) -> None:
    """Make the environment, unless it is there from the same requirements. BenchError: that failed, and why."""
    requirements = ROOT / "requirements" / f"bench-{name}.txt"
    stamp, wanted = HOME / name / "installed", hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    sys.stderr.write(f"installing {name} into {HOME.name}/{name}\n")
    _uv("venv", "--clear", "--python", sys.executable, str(HOME / name))
    python = str(binaries(name) / "python")
    _uv("pip", "install", "--python", python, "--compile-bytecode", "--require-hashes", "-r", str(requirements))
    stamp.write_text(wanted)


def _uv(*arguments: str) -> None:
    try:
        done = subprocess.run(
            [str(OWN / "uv"), "--quiet", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"uv {arguments[0]} did not work: {error}") from error
    if done.returncode:
        raise BenchError(f"uv {arguments[0]} failed\n{done.stderr[-1000:]}")
