"""Aliases and stages of many registered models, with as few requests as the registry's API allows.

Aliases are read at every look: MLflow has no timestamp that changes when one is moved. Stages are read again only
when the model's timestamp has changed, as transitions, new versions and deletions change it. (A model's list of
latest versions is not enough: of two versions in one stage it shows only the higher.)
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from ml.registry.versions import vouched_texts
from receiver.adapters.mlflow.calls import Missing
from receiver.core.state import RegisteredVersion, RegistryView

FEW = 50  # up to here one request per model costs less than the list of all of them
MODELS_PER_PAGE = 1000  # MLflow's own limit
VERSIONS_PER_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class _Version:
    """The fields of MLflow's ``ModelVersion`` that are used here."""

    name: str
    version: str
    current_stage: str | None
    status: str
    status_message: str | None
    run_id: str | None
    source: str
    creation_timestamp: int
    last_updated_timestamp: int
    tags: Mapping[str, str]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "_Version":
        return cls(
            raw["name"],
            raw["version"],
            raw.get("current_stage"),
            raw.get("status", ""),
            raw.get("status_message"),
            raw.get("run_id"),
            raw.get("source", ""),
            int(raw.get("creation_timestamp", 0)),
            int(raw.get("last_updated_timestamp", 0)),
            {tag["key"]: tag.get("value", "") for tag in raw.get("tags", ())},
        )


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


@dataclass(frozen=True, slots=True)
class _Model:
    """The fields of MLflow's ``RegisteredModel`` that are used here."""

    name: str
    aliases: Mapping[str, str]
    last_updated_timestamp: int
    latest_versions: Sequence[_Version]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "_Model":
        return cls(
            raw["name"],
            {a["alias"]: a["version"] for a in raw.get("aliases", ())},
            int(raw.get("last_updated_timestamp", 0)),
            [_Version.from_json(version) for version in raw.get("latest_versions", ())],
        )


class _Page(list[_Model]):
    """One page of models; ``token`` asks for the next one."""

    token: str | None = None


Read = Callable[[Callable[[], Any]], Any]


class ModelViews:
    """Reads views, and remembers the stages of models that have not changed since."""

    def __init__(self, client: Any, uri: str, read: Read, read_list: Read) -> None:
        """``client``: an ``MlflowClient``. ``read`` and ``read_list`` make a call, for one model and for many."""
        self._client = client
        self._uri = uri
        self._read = read
        self._read_list = read_list
        self._stages: dict[str, tuple[object, dict[int, str]]] = {}  # model -> its mark when read, its stages

    def observe(self, wanted: Mapping[str, Collection[int]]) -> dict[str, RegistryView | None]:
        """Views of the wanted models and versions; None: the model is not registered."""
        found = dict(self._models(list(wanted)))
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
        left = [(name, version) for name, versions in wanted.items() for version in versions]
        left = [pair for pair in left if pair not in found]
        if len(left) <= FEW:
            for name, version in left:
                with suppress(Missing):
                    found[name, version] = described(
                        self._read(partial(self._client.get_model_version, name, str(version)))
                    )
            return found
        for version in self._pages(self._client.search_model_versions, VERSIONS_PER_PAGE):
            if (version.name, int(version.version)) in left:
                found[version.name, int(version.version)] = described(version)
        return found

    def _remembered(self, name: str, model: Any) -> dict[int, str] | None:
        mark, stages = self._stages.get(name, (None, {}))
        return stages if mark == _mark(model) else None

    def _models(self, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
        if len(names) <= FEW:
            for name in names:
                try:
                    yield name, self._read(partial(self._client.get_registered_model, name))
                except Missing:
                    continue
            return
        wanted = set(names)
        search = self._search_quickly if self._uri.startswith("http") else self._client.search_registered_models
        for model in self._pages(search, MODELS_PER_PAGE):
            if model.name in wanted:
                yield model.name, model

    def _search_quickly(self, _: str | None, max_results: int, page_token: str | None) -> "_Page":
        """Search as MLflow's client does, without building its entities: that takes half as long as the answer."""
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request, verify_rest_response

        path, creds = "/api/2.0/mlflow/registered-models/search", get_default_host_creds(self._uri)
        parameters = {"max_results": max_results, "page_token": page_token}
        answer = verify_rest_response(http_request(creds, path, "GET", params=parameters), path).json()
        page = _Page(_Model.from_json(model) for model in answer.get("registered_models", ()))
        page.token = answer.get("next_page_token")
        return page

    def _read_stages(self, names: Sequence[str]) -> dict[str, dict[int, str]]:
        stages: dict[str, dict[int, str]] = {name: {} for name in names}
        queries = [f"name = '{name}'" for name in names] if len(names) <= FEW else [""]
        for query in queries:
            for version in self._pages(self._client.search_model_versions, VERSIONS_PER_PAGE, query):
                if version.name in stages and version.current_stage not in (None, "None"):
                    stages[version.name][int(version.version)] = version.current_stage
        return stages

    def _pages(self, search: Callable[..., Any], size: int, query: str = "") -> Iterator[Any]:
        token = None
        while True:
            page = self._read_list(partial(search, query or None, max_results=size, page_token=token))
            yield from page
            token = page.token
            if not token:
                return


def _mark(model: Any) -> object:
    """A value that changes whenever a version is registered, deleted or moved to another stage."""
    latest = sorted((int(v.version), v.current_stage) for v in model.latest_versions or ())
    return model.last_updated_timestamp, latest
