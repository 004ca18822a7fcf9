"""``pinrail version``: what is installed here, for a report or a script."""

import platform
from dataclasses import dataclass
from importlib.metadata import version

from receiver.cli.output import answer


@dataclass(frozen=True, slots=True)
class VersionView:
    """Versions: ``pinrail version --json``."""

    pinrail: str
    python: str
    mlflow: str
    """Of the client, which talks to the registry."""
    system: str


def show_version(*, as_json: bool) -> None:
    """Print the versions."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    view = VersionView(version("pinrail"), platform.python_version(), version("mlflow"), system)
    answer(view, _text, json_wanted=as_json)


def _text(view: VersionView) -> str:
    return f"pinrail {view.pinrail} (Python {view.python}, MLflow {view.mlflow}, {view.system})\n"
