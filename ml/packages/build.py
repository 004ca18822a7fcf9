"""Making an environment with uv: what may run code of packages does so like a model in the gate.

It can write to its own directory and uv's cache, reads nothing of this user's, and gets none of our variables but
those that say where packages come from. It has a time limit, and ends whole: also when this process is killed.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import uv

from ml.errors import MlError
from ml.evaluation import guard
from ml.packages.decision import OURS, Needed, Serving
from ml.packages.requirements import UnsuitablePackagesError, without_credentials

BUILD_SECONDS = 1800.0  # a large stack, over a slow line
MEGABYTES = 8192.0
POLL_SECONDS = 0.1
PYTHON_SECONDS = 20.0
FOUND_SECONDS = 60.0
SHOWN_LINES = 12
SHOWN_BYTES = 16 << 10
END_SECONDS = 15.0
# What a downloading program needs; the credentials of a package index among it, if there are any.
PASSED = frozenset(
    {
        *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    }
)
UV_PREFIXES = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX", "UV_FIND_LINKS", "UV_HTTP_TIMEOUT", "UV_NATIVE_TLS")
# uv reads none of pip's settings: these variables mean the same to both.
LIKE_PIP = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_CERT": "SSL_CERT_FILE",
}
SYSTEM_CONFIGURATION = Path("/etc/uv/uv.toml")
# Said by uv where the packages are to blame, and nobody could do anything about it by waiting.
OWN_FAULT = re.compile(
    r"No solution found|Hash mismatch|--require-hashes|Failed to build|[Bb]uild backend|no wheels? with a matching|"
    r"Failed to parse|Couldn't parse|Expected `|not allowed as constraints"
)
OUTSIDE = re.compile(
    r"network (was|is) disabled|Failed to fetch|error sending request|[Cc]onnection|timed out|dns error|"
    r"status (client|server) error|No space left|HTTP status|could not be queried|unexpected EOF|operation timed"
)

Stop = Callable[[], None]  # asked while something runs; raises to end it


class PackagesFailedError(MlError):
    """The packages of a version cannot be installed together, or one cannot be built: another try changes nothing."""


class PackagesUnavailableError(MlError):
    """The packages cannot be had now: no index answers, or the disk is full."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where things are made."""

    directory: Path  # of what is being made
    cache: Path  # uv's
    log: Path
    stop: Stop


def find_python(version: str) -> str:
    """The interpreter of this version on this machine. UnsuitablePackagesError: there is none."""
    if version == OURS:  # not of a venv, whose files uv may not read
        return str(getattr(sys, "_base_executable", "") or sys.executable)
    found = _find(version, int(time.monotonic() // FOUND_SECONDS))
    if found is None:
        raise UnsuitablePackagesError(
            f"it is code of Python {version}, and there is no Python {version} on this machine (this one is {OURS}): "
            f"install it, or log the model from a file (python_model='model.py'), which any Python reads"
        )
    return found


@lru_cache(maxsize=32)
def _find(version: str, _now: int) -> str | None:
    """Asked once in a while: a Python that was missing may be installed meanwhile."""
    found = subprocess.run(
        [find_uv(), "python", "find", "--no-python-downloads", "--no-project", version],
        env=index_variables(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PYTHON_SECONDS,
        check=False,
    )
    return found.stdout.strip() if found.returncode == 0 else None


def make(needed: Needed, serving: Serving, shop: Workshop) -> None:
    """Make the environment in the workshop's directory.

    PackagesFailedError: it cannot be made. PackagesUnavailableError: not now.
    """
    home = shop.directory
    python = find_python(needed.python)
    (home / "in.txt").write_text(as_file(requested(needed, serving)))
    (home / "constraints.txt").write_text(as_file(needed.constraints))
    (home / "hashes.txt").write_text(as_file(needed.hashes))
    # What this file names is preferred: the lock stays, but for what the model cannot do with.
    (home / "requirements.txt").write_text(serving.lock)
    interpreter = str(home / "bin" / "python")
    steps: Sequence[Sequence[str]] = (
        ("venv", "--quiet", "--relocatable", "--allow-existing", "--no-project", "--python", python, str(home)),
        (
            *("pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-emit-index-url"),
            *("--python", interpreter, "--constraints", "constraints.txt", "in.txt", "-o", "requirements.txt"),
        ),
        (
            *("pip", "install", "--no-deps", "--compile-bytecode", "--no-progress"),
            *("--python", interpreter, "--constraints", "hashes.txt", "-r", "requirements.txt"),
            *(("--require-hashes",) if needed.verified else ()),
        ),
    )
    for step in steps:
        _run(step, shop, needed)


def requested(needed: Needed, serving: Serving) -> Sequence[str]:
    """What one resolution has to satisfy: what a model server declares, and what the version needs."""
    own = [f"{one.name}{_extras(one.extras)}{one.specifier}" for one in serving.declared.values()]
    return [*own, *needed.requirements]


def as_file(lines: Sequence[str]) -> str:
    """The lines as a requirements file."""
    return "".join(f"{line}\n" for line in lines)


def _run(arguments: Sequence[str], shop: Workshop, needed: Needed) -> None:
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv"
    base = Path(find_python(needed.python)).resolve().parents[1]
    variables = index_variables(os.environ)
    sources = local_sources([*variables.values(), *map(_text, (configuration / "uv.toml", SYSTEM_CONFIGURATION))])
    readable = os.pathsep.join(map(str, (configuration, SYSTEM_CONFIGURATION, find_uv(), base, *sources)))
    writable = os.pathsep.join(map(str, (shop.directory, shop.cache)))
    start = shop.log.stat().st_size if shop.log.exists() else 0
    with shop.log.open("ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", guard.__name__, str(MEGABYTES), str(BUILD_SECONDS)),
                *(readable, writable),
                *(find_uv(), "--cache-dir", str(shop.cache), "--no-python-downloads", "--color=never", *arguments),
            ],
            env={**variables, "TMPDIR": str(shop.directory)},
            cwd=shop.directory,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            shop.stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
    finally:
        if process.stdin is not None:
            process.stdin.close()  # the guard ends with it, and all that it started
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.returncode != 0:
        said = _said(shop.log, start)
        if process.returncode == guard.TOO_LONG:
            raise PackagesUnavailableError(f"its packages were not installed within {BUILD_SECONDS:g} s: {said}")
        raise failure(said, needed)


def failure(said: str, needed: Needed) -> MlError:
    """Whose fault it is that uv failed, by what it said."""
    unasked = (
        f"\nIts requirements name {', '.join(needed.indexes)}, which is not asked: "
        f"set UV_INDEX to it where you trust it"
        if needed.indexes
        else ""
    )
    if OWN_FAULT.search(said) and not OUTSIDE.search(said):
        return PackagesFailedError(f"its packages cannot be installed:\n{said}{unasked}")
    return PackagesUnavailableError(f"its packages cannot be installed now:\n{said}{unasked}")


def _said(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - SHOWN_BYTES))
        return shortened(file.read().decode(errors="replace"))


def shortened(text: str) -> str:
    """The last lines of what uv said, for a person: without the credentials in addresses."""
    lines = [line.rstrip() for line in without_credentials(text).splitlines() if line.strip()]
    return "\n".join(lines[-SHOWN_LINES:]) or "uv said nothing"


def find_uv() -> str:
    """The program. PackagesUnavailableError: it is not installed."""
    try:
        return uv.find_uv_bin()
    except FileNotFoundError as error:
        found = shutil.which("uv")
        if found is None:
            raise PackagesUnavailableError(
                f"uv, which installs packages, is missing: pip install uv ({error})"
            ) from error
        return found


def index_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of ``environ`` that uv gets: what any program needs, and where packages come from."""
    given = {name: value for name, value in environ.items() if name in PASSED or name.startswith(UV_PREFIXES)}
    translated = {LIKE_PIP[name]: value for name, value in environ.items() if name in LIKE_PIP}
    return {**translated, **given}


def local_sources(settings: Iterable[str]) -> list[Path]:
    """Directories of this machine that variables and configuration of uv name, such as one of wheels."""
    words = [word for text in settings for word in re.split(r"[\s,\"'\[\]]+", text)]
    found = [Path(word.removeprefix("file://")) for word in words if word.startswith(("/", "file:///"))]
    return [path for path in found if path.is_dir() and path != Path("/")]


def _text(file: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return file.read_text()
    return ""


def _extras(extras: set[str]) -> str:
    return f"[{','.join(sorted(extras))}]" if extras else ""


def interpreter_of(environment: Path) -> Path:
    """The Python of an environment that was made."""
    return environment / "bin" / "python"


def add_serving(environment: Path) -> None:
    """Let its Python import the model server, and nothing else of what is installed here."""
    import serving

    code = environment / "code"
    code.mkdir()
    (code / "serving").symlink_to(Path(serving.__path__[0]).resolve(), target_is_directory=True)
    for packages in environment.glob("lib/python*/site-packages"):
        # Relative to where it lies, so that it holds wherever the environment is moved to.
        (packages / "pinrail-serving.pth").write_text("../../../code\n")
