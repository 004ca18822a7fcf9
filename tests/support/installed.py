"""Pinrail as its users have it: a wheel, made by the locked build backend, in a venv of its own."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def install_wheel(directory: Path) -> Path:
    """Build the wheel and install it with pip; returns the venv's ``bin``. The dependencies are this venv's own."""
    _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory))
    (wheel,) = directory.glob("pinrail-*.whl")
    venv.create(directory / "venv", with_pip=False)
    python = directory / "venv/bin/python"
    options = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")
    _run(sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel))
    (packages,) = (directory / "venv/lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


def _run(*arguments: str) -> None:
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
