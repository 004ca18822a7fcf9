"""Writing the files of a new repository of pins, or none of them."""

import json
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from ml.environment.schema import schema_text
from ml.registry.client import without_credentials
from receiver.core.errors import Rejected

# Path in the new repository -> file in ``files/``. Dots are left out there: no tool is to take those files for ours.
TEMPLATES: Mapping[str, str] = {
    "README.md": "README.md",
    "environments/staging.yaml": "staging.yaml",
    "environments/production.yaml": "production.yaml",
    "requirements.txt": "requirements.txt",
    ".env.example": "env.example",
    ".gitignore": "gitignore",
    ".github/workflows/pins.yml": "workflows/pins.yml",
    ".github/workflows/promote.yml": "workflows/promote.yml",
}
SCHEMA = "environments/schema.json"
PLACE = "@PINRAIL@"  # in requirements.txt
UNKNOWN = (
    "# Pinrail was installed from this machine. Say where a runner gets it, such as:\n"
    "# pinrail[receiver] @ git+https://github.com/<owner>/pinrail@<commit>"
)


def write_repository(directory: Path) -> str:
    """Write every file of a new repository below ``directory``; returns what was written and what to do next.

    Rejected: one of them is there already, so that nothing was written.
    """
    files = dict(_files())
    if in_the_way := sorted({found for name in files for found in _in_the_way(directory, name)}):
        listed = "\n".join(f"  {path}" for path in in_the_way)
        raise Rejected(f"nothing was written, because these are there already:\n{listed}\nchoose another directory")
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    written = "\n".join(f"  {name}" for name in files)
    return (
        f"wrote into {directory}:\n{written}\n"
        "next, in that directory:\n"
        "  cp .env.example .env && chmod 600 .env    # then fill it in\n"
        "  pinrail adopt staging MODEL               # pins a model that is in your registry\n"
        "README.md has the rest"
    )


def _files() -> Iterator[tuple[str, str]]:
    templates = Path(__file__).parent / "files"
    for name, template in TEMPLATES.items():
        yield name, (templates / template).read_text(encoding="utf-8").replace(PLACE, requirement())
    yield SCHEMA, schema_text()


def _in_the_way(directory: Path, name: str) -> Iterator[Path]:
    """What keeps the file from being written: the file itself, or what is no directory where one has to be."""
    if os.path.lexists(directory) and not directory.is_dir():
        yield directory
        return
    for parent in PurePosixPath(name).parents:
        folder = directory / parent
        if parent.name and os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
            yield folder
    if os.path.lexists(directory / name):
        yield directory / name


def requirement() -> str:
    """The line for ``requirements.txt`` that installs this Pinrail: from where this one was installed (PEP 610)."""
    try:
        found = distribution("pinrail")
    except PackageNotFoundError:
        return UNKNOWN
    direct = found.read_text("direct_url.json")
    if direct is None:
        return f"pinrail[receiver]=={found.version}"
    origin = json.loads(direct)
    if "vcs_info" not in origin:
        return UNKNOWN
    vcs = origin["vcs_info"]
    return f"pinrail[receiver] @ {vcs['vcs']}+{without_credentials(origin['url'])}@{vcs['commit_id']}"
