"""The JSON schemas of everything that Pinrail prints or answers, generated from the classes that it is made of.

``python -m receiver.cli.schemas DIRECTORY`` writes them; the repository's are in ``docs/schemas``.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from receiver.admin.views import DeliveriesView, DeploymentsView, DeploymentView, EnvironmentsView
from receiver.cli.commands.diff import DiffView
from receiver.cli.commands.labels import LabelsView
from receiver.cli.commands.live import LiveView
from receiver.cli.commands.plan import PlanView
from receiver.cli.commands.promote import ProposalView
from receiver.cli.commands.requests import RequestView
from receiver.cli.commands.version import VersionView
from receiver.cli.doctor.report import ReportView
from receiver.cli.failure import ErrorView

# File name -> what is published under it. A list of one class is an answer that is a bare list.
PUBLISHED: Mapping[str, Any] = {
    "environments": EnvironmentsView,  # pinrail status --json, /api/environments
    "deployments": DeploymentsView,  # /api/deployments
    "history": list[DeploymentView],  # pinrail history --json
    "deliveries": DeliveriesView,  # /api/deliveries
    "plan": PlanView,
    "live": LiveView,
    "diff": DiffView,
    "requests": list[RequestView],
    "labels": LabelsView,
    "proposal": ProposalView,  # pinrail promote --json, pinrail rollback --json
    "doctor": ReportView,
    "version": VersionView,
    "error": ErrorView,  # of every command that fails with --json
}


def schema(name: str) -> dict[str, Any]:
    """The JSON schema of one answer."""
    # In a list, because a configuration cannot be given for a dataclass itself.
    published = PUBLISHED[name]
    bare_list = getattr(published, "__origin__", None) is list
    inside = published.__args__[0] if bare_list else published
    adapter = TypeAdapter(list[inside], config=ConfigDict(use_attribute_docstrings=True))  # type: ignore[valid-type]
    found = json.loads(json.dumps(adapter.json_schema(mode="serialization")).replace("``", "`"))
    definitions = {each: _complete(found["$defs"][each]) for each in sorted(found["$defs"])}
    root = {"type": "array", "items": found["items"]} if bare_list else found["items"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": definitions}


def text(name: str) -> str:
    """The file's content."""
    return json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"


def _complete(definition: dict[str, Any]) -> dict[str, Any]:
    """Every field is always there, and its name is title enough."""
    properties = {
        name: {key: value for key, value in field.items() if key not in ("title", "default")}
        for name, field in definition.get("properties", {}).items()
    }
    return {**definition, "properties": properties, "required": list(properties)} if properties else definition


def main(directory: Path) -> None:
    """Write all schemas, and nothing else, into a folder."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in PUBLISHED:
        (directory / f"{name}.json").write_text(text(name), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
