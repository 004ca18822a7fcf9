"""Whether a version can be loaded with the packages that are here, and with which ones otherwise. Pure."""

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ml.packages.requirements import TOOLS, Listed, UnsuitablePackagesError, shown

OURS = f"{sys.version_info[0]}.{sys.version_info[1]}"
OLDEST = (3, 11)  # pyproject.toml's requires-python
# Packages whose pickles are not meant for another minor version; with others a major version must differ to matter.
STRICT = frozenset({"scikit-learn", "xgboost", "lightgbm", "catboost"})
MLFLOW = frozenset({"mlflow", "mlflow-skinny", "mlflow-tracing"})
VARIANTS = ("-cpu", "-gpu", "-headless")  # the same modules, built or packed in another way
SHOWN_PACKAGES = 40  # in messages, and as a label of an image, which the system limits to 128 KiB
ALWAYS = ("pandas",)  # MLflow asks every model with a table

# From a distribution's name to its version, here: None if it is not here.
Installed = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Serving:
    """What a model server needs: what it declares, and the versions in its lock, by canonical name."""

    declared: Mapping[str, Requirement]
    locked: Mapping[str, str]
    lock: str = ""  # the whole lock


@dataclass(frozen=True, slots=True)
class Needed:
    """What has to be installed for a version, beside what a model server needs."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    python: str  # such as ``3.11``
    missing: tuple[str, ...]  # why: a phrase for each package
    indexes: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()  # lines with hashes: what has these names is verified
    verified: bool = False  # nothing without a hash is installed

    def __str__(self) -> str:
        """As in ``xgboost==3.2.0, lightgbm==4.7.0``."""
        more = len(self.missing) - SHOWN_PACKAGES
        return ", ".join([*self.missing[:SHOWN_PACKAGES], *([f"and {more:,} more"] if more > 0 else [])])


def decide(listed: Listed, installed: Installed, serving: Serving, here: str = OURS) -> Needed | None:
    """Return what must be installed to load this version; None: what is here will do.

    ``here``: the Python of the place that ``installed`` tells of.

    UnsuitablePackagesError: nothing would help, package by package.
    """
    missing = lacking(listed, installed, here)
    if not missing:
        return None
    python = _python(listed, here)
    wanted = _wanted(listed, python)
    conflicts = [phrase for one in wanted if (phrase := _conflict(one, serving)) is not None]
    if conflicts:
        raise UnsuitablePackagesError(
            f"its packages do not go with the model server's: {'; '.join(conflicts)}. Register it with other "
            f"versions of them (pip_requirements=), or with an ONNX twin, which needs none"
        )
    kept = [str(one) for one in wanted if not _is_served(one, serving)]
    added = [name for name in ALWAYS if name not in {_name(one) for one in wanted}]
    names = {_name(one) for one in wanted}
    hashed = {name: line for name, line in listed.hashes if name in names}
    verified = bool(hashed) and not listed.addresses and {*map(_bare, kept), *added} <= {*hashed}
    return Needed(
        (*kept, *listed.addresses, *added),
        listed.constraints,
        python,
        tuple(missing),
        indexes=listed.indexes,
        hashes=(*hashed.values(), *(_hashes_of_lock(serving, names) if verified else ())),
        verified=verified,
    )


def _hashes_of_lock(serving: Serving, others: Collection[str]) -> Iterator[str]:
    """The lines of the lock with its hashes, but for packages that the version names itself."""
    for line in re.sub(r"\s*\\\r?\n\s*", " ", serving.lock).splitlines():
        if " --hash=" in line and _bare(line) not in others:
            yield line.strip()


def _bare(line: str) -> str:
    """The name at the beginning of a requirement."""
    return str(canonicalize_name(re.split(r"[^A-Za-z0-9._-]", line.strip(), maxsplit=1)[0]))


def lacking(listed: Listed, installed: Installed, here: str = OURS) -> Sequence[str]:
    """Return what is not there, or too different, to load this version: a phrase for each.

    ``here``: the Python of the place that ``installed`` tells of. UnsuitablePackagesError: no Python would help.
    """
    python = _python(listed, here)
    missing = [f"Python {python}"] if python != here else []
    missing += [phrase for one in _wanted(listed, python) if (phrase := _mismatch(one, installed)) is not None]
    return [*missing, *(shown(address) for address in listed.addresses if installed(_egg(address)) is None)]


def _wanted(listed: Listed, python: str) -> Sequence[Requirement]:
    """What a model needs itself: what installs packages, and MLflow, are every model server's."""
    return [one for one in listed.requirements if _applies(one, python) and _name(one) not in {*TOOLS, *MLFLOW}]


def _mismatch(needed: Requirement, installed: Installed) -> str | None:
    """Return what is wrong with a package that is here, or that it is not; None: it will do."""
    found = next((version for name in _names(needed) if (version := installed(name)) is not None), None)
    if found is None or needed.url is not None:
        return shown(str(needed))
    return None if _alike(needed, found) else f"{shown(str(needed))} (here is {found})"


def _python(listed: Listed, here: str) -> str:
    """Which Python: another one than is here only for what no other can read."""
    if listed.python is None or not listed.pickled:
        return here
    if tuple(map(int, listed.python.split("."))) < OLDEST:
        raise UnsuitablePackagesError(
            f"it is code of Python {listed.python}, and a model server needs {'.'.join(map(str, OLDEST))} or newer: "
            f"log it there, or from a file (python_model='model.py'), which any Python reads"
        )
    return listed.python


def _applies(needed: Requirement, python: str) -> bool:
    try:
        return needed.marker is None or needed.marker.evaluate({"python_version": python, "extra": ""})
    except (ValueError, KeyError) as error:  # it compares what cannot be compared, or names what there is not
        raise UnsuitablePackagesError(
            f"its requirements have a condition that nobody can decide ({shown(str(needed))}): {error}"
        ) from error


def _conflict(needed: Requirement, serving: Serving) -> str | None:
    declared = serving.declared.get(_name(needed))
    exact = _exact(needed)
    if declared is None or exact is None or _is_served(needed, serving) or declared.specifier.contains(exact):
        return None
    return f"it needs {shown(str(needed))}, a model server {declared.name}{declared.specifier}"


def _is_served(needed: Requirement, serving: Serving) -> bool:
    """The lock's version of this package will do, so that it stays."""
    locked = next((serving.locked[name] for name in _names(needed) if name in serving.locked), None)
    return locked is not None and needed.url is None and _alike(needed, locked)


def _alike(needed: Requirement, found: str) -> bool:
    exact = _exact(needed)
    if exact is None:
        return needed.specifier.contains(found, prereleases=True)
    try:
        wanted, here = Version(exact).release, Version(found).release
    except InvalidVersion:
        return True  # nothing that could be compared
    parts = 2 if STRICT & set(_names(needed)) else 1
    return wanted[:parts] == here[:parts]


def _exact(needed: Requirement) -> str | None:
    """Its one version; None where it allows several, as ``==2.*`` does."""
    pins = (one.version for one in needed.specifier if one.operator in ("==", "==="))
    return next((version for version in pins if not version.endswith("*")), None)


def _names(needed: Requirement) -> Iterator[str]:
    """The distributions that provide the same modules, its own first."""
    name = _name(needed)
    plain = next((name.removesuffix(variant) for variant in VARIANTS if name.endswith(variant)), name)
    yield from dict.fromkeys((name, plain, *(plain + variant for variant in VARIANTS)))


def _name(needed: Requirement) -> str:
    return str(canonicalize_name(needed.name))


def _egg(address: str) -> str:
    """The name after ``#egg=``, as pip has it."""
    return address.partition("#egg=")[2].partition("&")[0]
