"""What a version lists in its ``requirements.txt`` and ``python_env.yaml``, or its ``conda.yaml``. Nothing is run."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ml.errors import MlError
from serving.errors import UnsupportedModelError
from serving.model import model_dir

REQUIREMENTS, PYTHON_ENV, CONDA = "requirements.txt", "python_env.yaml", "conda.yaml"
FILE_BYTES = 1 << 20
# What installs packages is no part of what a model needs.
TOOLS = frozenset({"pip", "wheel"})
INDEX_OPTION = re.compile(r"(--index-url|--extra-index-url|--find-links|-i|-f)(?:[=\s]\s*|(?=https?:))(\S+)")
INCLUDED = re.compile(r"(?:-r|--requirement|-c|--constraint)[=\s]*(\S+)")
LOCAL = re.compile(r"(-e|--editable)\b|\.{0,2}/|~|file:|[A-Za-z]:[\\/]|[^=<>]*@\s*(file:|\.{0,2}/)")
REMOTE = re.compile(r"(git\+|hg\+|svn\+|bzr\+)?(https?|ssh|git)://")
MINOR = re.compile(r"(\d+)\.(\d+)")


class UnsuitablePackagesError(MlError):
    """A version can be loaded nowhere here: the text says why, and what to change."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What one version lists."""

    requirements: tuple[Requirement, ...]  # whatever their markers say
    addresses: tuple[str, ...] = ()  # lines such as ``git+https://...``, which name no package
    constraints: tuple[str, ...] = ()  # versions for whatever else is installed
    hashed: frozenset[str] = frozenset()  # the names of requirements with hashes
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
    hashed: set[str] = set()
    for line in _included(artifacts, lines, constraints):
        if option := INDEX_OPTION.match(line):
            indexes.append(shown(option[2]))
        elif LOCAL.match(line):
            raise UnsuitablePackagesError(
                f"its requirements name a path of the machine that trained it ({shown(line)}): put the code into the "
                f"version with code_paths=, or publish it as a package"
            )
        elif line.startswith("-"):
            continue  # an option of pip's
        elif REMOTE.match(line):
            addresses.append(line)
        else:
            text, *hashes = re.split(r"\s+--hash[=\s]", line)
            requirement = _requirement(text)
            requirements.append(requirement)
            if hashes:
                hashed.add(str(canonicalize_name(requirement.name)))
    return Listed(
        requirements=tuple(requirements),
        addresses=tuple(addresses),
        constraints=tuple(constraints),
        hashed=frozenset(hashed),
        indexes=tuple(indexes),
        python=python,
        pickled=_pickled(artifacts),
    )


def _included(artifacts: Path, lines: list[str], constraints: list[str], depth: int = 0) -> Iterator[str]:
    for line in lines:
        named = INCLUDED.match(line)
        if named is None:
            yield line
            continue
        file = (artifacts / named[1]).resolve()
        found = _lines(file) if file.is_relative_to(artifacts.resolve()) and depth < 5 else None  # noqa: PLR2004 - enough
        if found is None:
            raise UnsuitablePackagesError(f"its requirements include {shown(named[1])}, which is not among its files")
        if line.startswith(("-c", "--constraint")):
            constraints += found
        else:
            yield from _included(artifacts, found, constraints, depth + 1)


def _requirement(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise UnsuitablePackagesError(
            f"its requirements have a line that is no requirement ({shown(text)!r}): register it again with "
            f"pip_requirements="
        ) from error


def _lines(file: Path) -> list[str] | None:
    """The lines without comments and blank ones, continued ones joined; None: no such file."""
    text = _text(file)
    if text is None:
        return None
    joined = re.sub(r"\\\r?\n", " ", text)
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in bare if line]


def _text(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            raw = opened.read(FILE_BYTES + 1)
    except OSError:
        return None
    if len(raw) > FILE_BYTES:
        raise UnsuitablePackagesError(f"its {file.name} is larger than {FILE_BYTES >> 20} MB")
    return raw.decode("utf-8-sig", errors="replace")


def _mapping(file: Path) -> Mapping[str, Any]:
    try:
        raw = yaml.safe_load(_text(file) or "")
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UnsuitablePackagesError(f"its {file.name} is no YAML: {' '.join(str(error).split())[:200]}") from error
    return raw if isinstance(raw, Mapping) else {}


def _conda_lines(conda: Mapping[str, Any], name: str) -> list[str] | None:
    listed = conda.get("dependencies")
    if not isinstance(listed, list):
        return None
    by_pip = [line for entry in listed if isinstance(entry, Mapping) for line in entry.get("pip") or ()]
    others = [entry for entry in listed if isinstance(entry, str) and not re.match(r"(python|pip)\b(?!-)", entry)]
    if others:
        raise UnsuitablePackagesError(
            f"its {CONDA} names packages of conda's ({', '.join(others)[:200]}), and only pip's can be installed: "
            f"register {name} again with pip_requirements="
        )
    return [str(line) for line in by_pip]


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
