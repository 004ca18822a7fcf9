"""What a version lists in its ``requirements.txt`` and ``python_env.yaml``, or its ``conda.yaml``. Nothing is run."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ml.errors import MlError
from serving.errors import UnsupportedModelError
from serving.model import model_dir, small_files
from serving.model.small_files import SmallFile, parse_yaml, read_small

REQUIREMENTS, PYTHON_ENV, CONDA = "requirements.txt", "python_env.yaml", "conda.yaml"
MOST_LINES = 5000  # those of included files too, each as often as it is included
MOST_INCLUDED = 20
LONGEST_LINE = 2000  # characters, without hashes
# What installs packages is no part of what a model needs.
TOOLS = frozenset({"pip", "wheel"})
INDEX_OPTION = re.compile(r"(--index-url|--extra-index-url|--find-links|-i|-f)(?:[=\s]\s*|(?=https?:))(\S+)")
INCLUDED = re.compile(r"(?:-r|--requirement|-c|--constraint)[=\s]*(\S+)")
LOCAL = re.compile(r"(-e|--editable)\b|\.{0,2}/|~|(\w+\+)?file:|[A-Za-z]:[\\/]|[^=<>]*@\s*((\w+\+)?file:|\.{0,2}/)")
REMOTE = re.compile(r"(git\+|hg\+|svn\+|bzr\+)?(https?|ssh|git)://")
VARIABLE = re.compile(r"\$\{[^}]*\}")
HASH = re.compile(r"[a-z0-9]{3,10}:[0-9a-fA-F]{2,200}")
MINOR = re.compile(r"(\d+)\.(\d+)")


class UnsuitablePackagesError(MlError):
    """A version can be loaded nowhere here: the text says why, and what to change."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What one version lists."""

    requirements: tuple[Requirement, ...]  # whatever their markers say
    addresses: tuple[str, ...] = ()  # lines such as ``git+https://...``, which name no package
    constraints: tuple[str, ...] = ()  # versions for whatever else is installed
    hashes: tuple[tuple[str, str], ...] = ()  # the requirements with hashes: name, and line
    indexes: tuple[str, ...] = ()  # which it names, and which nobody asks
    python: str | None = None  # such as ``3.11``
    pickled: bool = False  # it holds code that only this Python can read


def read_listed(artifacts: Path) -> Listed | None:
    """What the version in a directory lists; None: nothing. UnsuitablePackagesError: it cannot be understood."""
    lines = _lines(artifacts / REQUIREMENTS)
    conda = _mapping(artifacts / CONDA)
    if lines is None:
        lines = _conda_lines(conda, artifacts.name)
    if lines is None:
        return None
    python = _mapping(artifacts / PYTHON_ENV).get("python") or _conda_python(conda)
    found = MINOR.match(str(python or ""))
    return _parse(artifacts, lines, f"{found[1]}.{found[2]}" if found else None)


def needs_nothing(artifacts: Path) -> bool:
    """A twin answers for the model, and brings all that it needs; or it is no model, as its server will say."""
    try:
        model = model_dir.read(artifacts)
    except UnsupportedModelError:
        return True
    return model.onnx is not None and not model.params


def shown(text: str) -> str:
    """A line of a version's, for a message: short, and without the credentials in an address."""
    return without_credentials(text)[:200]


def without_credentials(text: str) -> str:
    """The same without names and passwords in addresses."""
    return re.sub(r"(?<=//)[^/@\s]+@", "", text)


def _parse(artifacts: Path, lines: list[str], python: str | None) -> Listed:
    requirements: list[Requirement] = []
    addresses: list[str] = []
    constraints: list[str] = []
    indexes: list[str] = []
    hashed: list[tuple[str, str]] = []
    own = list(_Included(artifacts, constraints).lines(lines))
    constraints = list(_without_options(constraints, indexes))
    for line in _without_options(own, indexes):
        if REMOTE.match(line):
            addresses.append(line)
        else:
            text, *hashes = re.split(r"\s--hash[=\s]", line)
            requirement = _requirement(text)
            requirements.append(requirement)
            if hashes:
                whole = " ".join((text.strip(), *(f"--hash={_hash(one)}" for one in hashes)))
                hashed.append((str(canonicalize_name(requirement.name)), whole))
    return Listed(
        requirements=tuple(requirements),
        addresses=tuple(addresses),
        constraints=tuple(constraints),
        hashes=tuple(hashed),
        indexes=tuple(indexes),
        python=python,
        pickled=_pickled(artifacts),
    )


def _without_options(lines: Sequence[str], indexes: list[str]) -> Iterator[str]:
    """The lines that name packages. ``indexes``: those that others name are added."""
    for line in lines:
        if option := INDEX_OPTION.match(line):
            indexes.append(shown(option[2]))
        elif LOCAL.match(line):
            raise UnsuitablePackagesError(
                f"its requirements name a path of the machine that trained it ({shown(line)}): put the code into the "
                f"version with code_paths=, or publish it as a package"
            )
        elif VARIABLE.search(line):  # uv would put in what it has here, the password of an index too
            raise UnsuitablePackagesError(
                f"its requirements name a variable of the machine that trained it ({shown(line)}): write what it "
                f"stands for, and leave credentials to the machine that installs it"
            )
        elif not line.startswith("-"):  # an option of pip's
            yield line


class _Included:
    """The lines of a file and of those that it includes: a few small files can include each other endlessly."""

    def __init__(self, artifacts: Path, constraints: list[str]) -> None:
        """``constraints``: is added to."""
        self._artifacts = artifacts.resolve()
        self._constraints = constraints
        self._lines = 0
        self._files = 0

    def lines(self, lines: list[str]) -> Iterator[str]:
        """Everything but what includes a file."""
        self._lines += len(lines)
        if self._lines > MOST_LINES:
            raise UnsuitablePackagesError(f"its requirements have more than {MOST_LINES:,} lines: list what it needs")
        for line in lines:
            named = INCLUDED.match(line)
            if named is None:
                yield line
                continue
            found = list(self.lines(self._read(named[1])))
            if line.startswith(("-c", "--constraint")):
                self._constraints += found
            else:
                yield from found

    def _read(self, name: str) -> list[str]:
        self._files += 1
        if self._files > MOST_INCLUDED:
            raise UnsuitablePackagesError(f"its requirements include over {MOST_INCLUDED} files: put them into one")
        file = (self._artifacts / name).resolve()
        found = _lines(file) if file.is_relative_to(self._artifacts) else None
        if found is None:
            raise UnsuitablePackagesError(f"its requirements include {shown(name)}, which is not among its files")
        return found


def _requirement(text: str) -> Requirement:
    wrong = UnsuitablePackagesError(
        f"its requirements have a line that is no requirement ({shown(text)!r}): register it again with "
        f"pip_requirements="
    )
    if len(text) > LONGEST_LINE:
        raise wrong
    try:
        return Requirement(text)
    except (InvalidRequirement, RecursionError) as error:
        raise wrong from error


def _hash(text: str) -> str:
    if HASH.fullmatch(text.strip()) is None:
        raise UnsuitablePackagesError(
            f"its requirements have a hash that is none ({shown(text)!r}): write them again"
        )
    return text.strip()


def _lines(file: Path) -> list[str] | None:
    """The lines without comments and blank ones, continued ones joined; None: no such file."""
    text = _text(file)
    if text is None:
        return None
    return _bare(text)


def _bare(text: str) -> list[str]:
    joined = re.sub(r"\\\r?\n", " ", text)
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in bare if line]


def _text(file: Path, kind: SmallFile = small_files.REQUIREMENTS) -> str | None:
    try:
        return read_small(file, kind).decode("utf-8-sig", errors="replace")
    except OSError:
        return None
    except UnsupportedModelError as error:
        raise UnsuitablePackagesError(str(error)) from error


def _mapping(file: Path) -> Mapping[str, Any]:
    try:
        raw = parse_yaml((_text(file, small_files.ENVIRONMENT) or "").encode())
    except ValueError as error:
        raise UnsuitablePackagesError(f"its {file.name} cannot be read: {error}") from error
    return raw if isinstance(raw, Mapping) else {}


def _conda_lines(conda: Mapping[str, Any], name: str) -> list[str] | None:
    listed = conda.get("dependencies")
    if not isinstance(listed, list):
        return None
    by_pip = [entry["pip"] for entry in listed if isinstance(entry, Mapping) and isinstance(entry.get("pip"), list)]
    others = [entry for entry in listed if isinstance(entry, str) and not re.match(r"(python|pip)\b(?!-)", entry)]
    if others:
        raise UnsuitablePackagesError(
            f"its {CONDA} names packages of conda's ({', '.join(others)[:200]}), and only pip's can be installed: "
            f"register {name} again with pip_requirements="
        )
    # An entry is a line of a requirements file; one with several would bring in what nobody has read.
    return _bare("\n".join(str(entry) for entries in by_pip for entry in entries))


def _conda_python(conda: Mapping[str, Any]) -> str | None:
    listed = conda.get("dependencies")
    for entry in listed if isinstance(listed, list) else ():
        if found := re.match(r"python\s*=+\s*([\d.]+)", str(entry)):
            return found[1]
    return None


def _pickled(artifacts: Path) -> bool:
    """The version is a Python object with its code, as cloudpickle writes it: bytecode of one Python version."""
    try:
        generic = model_dir.flavors(artifacts).get("python_function")
    except UnsupportedModelError:
        return False
    return isinstance(generic, Mapping) and "python_model" in generic and "model_code_path" not in generic
