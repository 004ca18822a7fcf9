"""What a package imports is declared in its own extra, so that no release of something else can take it away."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
OURS = {"serving", "ml", "receiver"}
# The runtimes that need the training stack import it late, and are passed over where it is not installed.
OPTIONAL = {"serving": {"pandas"}}


def declared(extra: str) -> set[str]:
    """The normalised names of an extra's packages, with those of the extras that it includes."""
    names = set()
    for requirement in EXTRAS[extra]:
        if own := re.match(r"pinrail\[([a-z,]+)\]", requirement):
            names |= {name for included in own[1].split(",") for name in declared(included)}
        else:
            names.add(normal(re.split(r"[\[<>=!~; ]", requirement)[0]))
    return names


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(package: str) -> Iterator[tuple[str, str]]:
    for module in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                yield name.partition(".")[0], str(module.relative_to(ROOT))


@pytest.mark.parametrize("package", sorted(OURS))
def test_every_import_is_declared_in_the_packages_extra(package: str) -> None:
    known, distributions = declared(package) | OPTIONAL.get(package, set()), packages_distributions()
    undeclared = {
        f"{where}: {name}"
        for name, where in imported(package)
        if name not in sys.stdlib_module_names | OURS
        and not {normal(found) for found in distributions.get(name, [name])} & known
    }
    assert not undeclared


def locked(file: str) -> dict[str, set[str]]:
    """Package -> the versions that a lock allows; several where they depend on the platform."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", (ROOT / file).read_text(), re.MULTILINE
    ):
        found.setdefault(normal(name), set()).add(version)
    return found


def test_the_docs_are_built_with_the_versions_that_the_code_has() -> None:
    """`make docs` installs into the venv of the code, which makes the reference."""
    code, docs = locked("requirements/dev.txt"), locked("requirements/docs.txt")
    assert "mkdocs-material" in docs
    assert "mkdocs-material" not in code
    differing = {name: (docs[name], code[name]) for name in docs.keys() & code if not docs[name] & code[name]}
    assert not differing, "run `make lock`"
