"""Asking MLflow about many models or versions by name, in few requests, whatever else is registered.

``name IN (...)`` finds any number of them, as many to a request as its address may be long. A registry that does not
understand it is asked one by one or, for many, for all that it has.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from receiver.adapters.mlflow.calls import Invalid, Missing, Unsupported
from receiver.adapters.mlflow.reading import can_read, read_json

FEW = 50  # without IN, up to here one request each costs less than the list of all
ADDRESS_LENGTH = 3000  # of a filter as it is sent; common servers refuse addresses of 4,094 characters
MODELS_PER_PAGE = 1000  # MLflow's own limit
VERSIONS_PER_PAGE = 10_000
VERSIONS_PER_RANGE = 1000  # what one request may find of which only some are wanted

Read = Callable[[Callable[[], Any]], Any]
Pair = tuple[str, int]  # a model and the number of a version


@dataclass(frozen=True, slots=True)
class FoundVersion:
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
    def from_json(cls, raw: Mapping[str, Any]) -> "FoundVersion":
        """Take it from an answer of MLflow's REST API."""
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


@dataclass(frozen=True, slots=True)
class FoundModel:
    """The fields of MLflow's ``RegisteredModel`` that are used here."""

    name: str
    aliases: Mapping[str, str]
    last_updated_timestamp: int
    latest_versions: Sequence[FoundVersion]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "FoundModel":
        """Take it from an answer of MLflow's REST API."""
        return cls(
            raw["name"],
            {a["alias"]: a["version"] for a in raw.get("aliases", ())},
            int(raw.get("last_updated_timestamp", 0)),
            [FoundVersion.from_json(version) for version in raw.get("latest_versions", ())],
        )


class _Page(list[Any]):
    """One page of what was found; ``token`` asks for the next one."""

    token: str | None = None


class Search:
    """Finds models and versions, and remembers whether the registry understands ``IN``."""

    def __init__(self, uri: str, client: Callable[[], Any], read: Read, read_list: Read) -> None:
        """``client`` makes MLflow's. ``read`` and ``read_list`` make a call, for one thing and for many."""
        self._uri = uri
        self._client = client
        self._read = read
        self._read_list = read_list
        self._knows_in = True
        self._reads = can_read(uri)

    def models(self, names: Sequence[str]) -> Sequence[Any]:
        """Those of the named models that are registered."""
        queries = [_among(chunk) for chunk in _chunks(names)]
        found = self._together(names, (model for query in queries for model in self._models(query)))
        if found is not None:
            return found
        if len(names) > FEW:
            return list(_named(self._models(), names))
        return [model for name in names for model in self._one(self._model, name)]

    def versions_of(self, names: Sequence[str]) -> Sequence[Any]:
        """Every version of the named models."""
        queries = [_among(chunk) for chunk in _chunks(names)]
        found = self._together(names, (version for query in queries for version in self._versions(query)))
        if found is not None:
            return found
        if len(names) > FEW:
            return list(_named(self._versions(), names))
        return [version for name in names for version in self._versions(f"name = '{name}'")]

    def versions(self, wanted: Sequence[Pair]) -> Sequence[Any]:
        """Those of the wanted versions that exist, and perhaps others of the same models."""
        found = self._together(wanted, (version for some in _ranges(wanted) for version in self._range(some)))
        if found is not None:
            return found
        if len(wanted) > FEW:
            return list(_named(self._versions(), {name for name, _ in wanted}))
        return [version for pair in wanted for version in self._version(pair)]

    def _together(self, wanted: Sized, asked: Iterable[Any]) -> Sequence[Any] | None:
        """What was found by ``IN``; None: there is only one to find, or the registry does not understand it."""
        if len(wanted) < 2 or not self._knows_in:  # noqa: PLR2004 - one needs no list
            return None
        try:
            return list(asked)
        except (Invalid, Unsupported):
            self._knows_in = False
            return None

    def _range(self, wanted: Sequence[Pair]) -> Iterator[Any]:
        if len(wanted) == 1:
            return self._version(wanted[0])
        lowest, highest = wanted[0][1], wanted[-1][1]
        names = _among([name for name, _ in wanted])
        return self._versions(f"{names} AND version_number >= {lowest} AND version_number <= {highest}")

    def _version(self, wanted: Pair) -> Iterator[Any]:
        return self._one(self._found_version, wanted[0], str(wanted[1]))

    def _model(self, name: str) -> Any:
        found = read_json(self._uri, "registered-models/get", {"name": name}) if self._reads else None
        if found is None:
            return self._client().get_registered_model(name)
        return FoundModel.from_json(found["registered_model"])

    def _found_version(self, name: str, version: str) -> Any:
        wanted = {"name": name, "version": version}
        found = read_json(self._uri, "model-versions/get", wanted) if self._reads else None
        if found is None:
            return self._client().get_model_version(name, version)
        return FoundVersion.from_json(found["model_version"])

    def _one(self, get: Callable[..., Any], *what: str) -> Iterator[Any]:
        with suppress(Missing):
            yield self._read(partial(get, *what))

    def _models(self, query: str = "") -> Iterator[Any]:
        return self._pages(partial(self._search, "registered-models", FoundModel.from_json), MODELS_PER_PAGE, query)

    def _versions(self, query: str = "") -> Iterator[Any]:
        return self._pages(partial(self._search, "model-versions", FoundVersion.from_json), VERSIONS_PER_PAGE, query)

    def _search(
        self, kind: str, entity: Callable[[Any], Any], query: str | None, max_results: int, page_token: str | None
    ) -> Any:
        """Search as MLflow's client does, without building its entities: that takes half as long as the answer."""
        parameters = {"filter": query, "max_results": max_results, "page_token": page_token}
        found = read_json(self._uri, f"{kind}/search", parameters) if self._reads else None
        if found is None:
            return self._search_with_client(kind, entity, parameters)
        return _page(found, kind, entity)

    def _search_with_client(self, kind: str, entity: Callable[[Any], Any], parameters: Mapping[str, Any]) -> Any:
        client = self._client()
        uri = str(client._registry_uri)  # MLFLOW_REGISTRY_URI may name another server  # noqa: SLF001
        if not uri.startswith("http"):
            search = {"registered-models": "search_registered_models", "model-versions": "search_model_versions"}[
                kind
            ]
            return getattr(client, search)(
                parameters["filter"], **{k: parameters[k] for k in ("max_results", "page_token")}
            )
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request, verify_rest_response

        path, creds = f"/api/2.0/mlflow/{kind}/search", get_default_host_creds(uri)
        answer = verify_rest_response(http_request(creds, path, "GET", params=parameters), path)
        return _page(answer.json(), kind, entity)

    def _pages(self, search: Callable[..., Any], size: int, query: str) -> Iterator[Any]:
        token = None
        while True:
            page = self._read_list(partial(search, query or None, max_results=size, page_token=token))
            yield from page
            token = page.token
            if not token:
                return


def _page(answer: Mapping[str, Any], kind: str, entity: Callable[[Any], Any]) -> _Page:
    page = _Page(entity(raw) for raw in answer.get(kind.replace("-", "_"), ()))
    page.token = answer.get("next_page_token")
    return page


def _named(found: Iterable[Any], names: Collection[str]) -> Iterator[Any]:
    wanted = set(names)
    return (one for one in found if one.name in wanted)


def _among(names: Iterable[str]) -> str:
    return f"name IN ({', '.join(map(_quoted, names))})"


def _quoted(name: str) -> str:
    return f"'{name}'"


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    """As many names at a time as fit into one address."""
    chunk: list[str] = []
    length = 0
    for name in names:
        if chunk and length + _length(name) > ADDRESS_LENGTH:
            yield chunk
            chunk, length = [], 0
        chunk.append(name)
        length += _length(name)
    if chunk:
        yield chunk


def _ranges(wanted: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Versions with near numbers together: a filter can name many models, and one range of numbers for all."""
    chunk: list[Pair] = []
    length = 0
    for name, version in sorted(wanted, key=lambda pair: (pair[1], pair[0])):
        wide = chunk and (len(chunk) + 1) * (version - chunk[0][1] + 1) > VERSIONS_PER_RANGE
        if chunk and (wide or length + _length(name) > ADDRESS_LENGTH):
            yield chunk
            chunk, length = [], 0
        chunk.append((name, version))
        length += _length(name)
    if chunk:
        yield chunk


def _length(name: str) -> int:
    return len(quote(f"{_quoted(name)}, "))
