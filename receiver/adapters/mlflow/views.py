"""Aliases and stages of many registered models, with as few requests as the registry's API allows.

Aliases are read at every look: MLflow has no timestamp that changes when one is moved. Stages are read again only
when the model's timestamp has changed, as transitions, new versions and deletions change it. (A model's list of
latest versions is not enough: of two versions in one stage it shows only the higher.)
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ml.registry.versions import vouched_texts
from receiver.adapters.mlflow.search import Search
from receiver.core.state import RegisteredVersion, RegistryView


def described(version: Any) -> RegisteredVersion:
    """Put MLflow's ``ModelVersion`` in our terms."""
    return RegisteredVersion(
        model=version.name,
        version=int(version.version),
        status=version.status,
        status_message=version.status_message or "",
        run_id=version.run_id or None,
        source=str(version.source),
        created=int(version.creation_timestamp or 0),
        updated=int(version.last_updated_timestamp or 0),
        evidence=vouched_texts(version.tags),
    )


class ModelViews:
    """Reads views, and remembers the stages of models that have not changed since."""

    def __init__(self, search: Search) -> None:
        """``search``: asks the registry."""
        self._search = search
        self._stages: dict[str, tuple[object, dict[int, str]]] = {}  # model -> its mark when read, its stages

    def observe(self, wanted: Mapping[str, Collection[int]]) -> dict[str, RegistryView | None]:
        """Views of the wanted models and versions; None: the model is not registered."""
        found = {model.name: model for model in self._search.models(list(wanted))}
        # Read from memory once: another thread may meanwhile store something newer.
        stages = {
            name: known for name, model in found.items() if (known := self._remembered(name, model)) is not None
        }
        for name, read in self._read_stages([name for name in found if name not in stages]).items():
            stages[name] = read
            self._stages[name] = (_mark(found[name]), read)
        versions = self._versions(found, {name: wanted[name] for name in found})
        views: dict[str, RegistryView | None] = dict.fromkeys(wanted)
        for name, model in found.items():
            views[name] = RegistryView(
                name,
                {alias: int(version) for alias, version in model.aliases.items()},
                stages[name],
                {version: versions.get((name, version)) for version in wanted[name]},
                max((int(version.version) for version in model.latest_versions or ()), default=None),
            )
        return views

    def _versions(
        self, models: Mapping[str, Any], wanted: Mapping[str, Collection[int]]
    ) -> dict[tuple[str, int], RegisteredVersion]:
        """Describe the wanted versions. A version that is missing in the answer does not exist."""
        latest = (version for model in models.values() for version in model.latest_versions or ())
        found = {(v.name, int(v.version)): described(v) for v in latest if int(v.version) in wanted[v.name]}
        pairs = {(name, version) for name, versions in wanted.items() for version in versions}
        others = self._search.versions([pair for pair in pairs if pair not in found])
        return found | {(v.name, int(v.version)): described(v) for v in others if (v.name, int(v.version)) in pairs}

    def _remembered(self, name: str, model: Any) -> dict[int, str] | None:
        mark, stages = self._stages.get(name, (None, {}))
        return stages if mark == _mark(model) else None

    def _read_stages(self, names: Sequence[str]) -> dict[str, dict[int, str]]:
        stages: dict[str, dict[int, str]] = {name: {} for name in names}
        for version in self._search.versions_of(names):
            if version.current_stage not in (None, "None"):
                stages[version.name][int(version.version)] = version.current_stage
        return stages


def _mark(model: Any) -> object:
    """A value that changes whenever a version is registered, deleted or moved to another stage."""
    latest = sorted((int(v.version), v.current_stage) for v in model.latest_versions or ())
    return model.last_updated_timestamp, latest
