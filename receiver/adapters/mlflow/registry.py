"""MLflow's model registry: aliases and stages, versions by content, and the gate's evidence.

MLflow is imported when its client is needed, not with this module: ``pinrail status`` must be quick.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ml.errors import EvidenceError
from ml.evidence import Evidence
from ml.registry.versions import parse_evidence, provenance, read_evidence_text, read_report
from receiver.adapters.mlflow import calls as mlflow_call
from receiver.adapters.mlflow.calls import CALL_SECONDS, LIST_SECONDS, Missing, Unsupported
from receiver.adapters.mlflow.fetched import Fetched, FetchRecords, Registration
from receiver.adapters.mlflow.reading import can_read
from receiver.adapters.mlflow.search import Search
from receiver.adapters.mlflow.views import ModelViews, described
from receiver.core.errors import ArtifactsChanged, Rejected, Retryable
from receiver.core.state import RegisteredVersion, RegistryView
from receiver.ports import ModelVersion, Resolved
from serving.errors import (
    DigestDiffersError,
    ModelMissingError,
    NoRoomError,
    RegistryUnavailableError,
    VersionTooLargeError,
)
from serving.model.loader import Cache, CachedModel

T = TypeVar("T")

WRITE_TRIES = 2
NAMES_SHOWN = 8


class DamagedEvidence(Rejected):
    """The evidence is not what the registry's tag vouches for, or cannot be read."""


class OversizedVersion(Rejected):
    """A version is larger than a version may be."""


class MlflowRegistry:
    """``ports.Registry`` on an MLflow server; credentials are MLflow's own variables.

    Stages are optional: a registry without them is enough for environments that name only an alias.
    """

    def __init__(self, uri: str, cache: Cache) -> None:
        """``uri``: the server's base URL. ``cache``: for :meth:`fetch`. Rejected: the URL cannot be used."""
        mlflow_call.configure()
        self._uri = uri
        self._cache = cache
        self._views = ModelViews(Search(uri, lambda: self._client, self._read, self._list))
        self._records = FetchRecords(cache)
        if not can_read(uri):
            self._client  # noqa: B018 - says at once what is wrong with the address

    @cached_property
    def _client(self) -> Any:
        """MLflow's own, made when it is needed: its import takes most of a second."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            return MlflowClient(tracking_uri=self._uri)  # MLFLOW_REGISTRY_URI may name another registry
        except MlflowException as error:
            raise Rejected(f"MLFLOW_TRACKING_URI cannot be used: {mlflow_call.shown(str(error))}") from error

    def observe(self, wanted: Mapping[str, Collection[int]]) -> dict[str, RegistryView | None]:
        """See :meth:`receiver.ports.Registry.observe`."""
        try:
            return self._views.observe(wanted)
        except (LookupError, TypeError, ValueError) as error:  # e.g. an alias of "NaN": no MLflow server
            said = mlflow_call.shown(f"MLflow at {self._uri} sent an answer that makes no sense: {error!r}")
            raise Retryable(said) from error

    def versions(self, model: str) -> Sequence[int]:
        """The numbers of the READY versions, ascending; none where the model is not registered."""
        found = self._list(lambda: self._client.search_model_versions(f"name = '{model}'"))
        return sorted(int(v.version) for v in found if v.status == "READY")

    def resolve(self, found: RegisteredVersion, environment: str | None = None) -> Resolved | None:
        """See :meth:`receiver.ports.Registry.resolve`. It compares with what :meth:`fetch` has recorded."""
        _require_ready(found)
        return self._cached(found.model, found.version, lambda: self._recorded(found, environment))

    def _recorded(self, found: RegisteredVersion, environment: str | None) -> Resolved | None:
        model, version = found.model, found.version
        vouched = found.evidence.get(environment) if environment is not None else None
        known = self._records.evidence(model, version, environment, vouched) if environment and vouched else None
        if vouched is not None and known is None:
            self._require_worth_asking(found, environment)
        record = self._records.version(model, version, Registration.of(found))
        if record is None:
            self._require_worth_asking(found)
            return None
        path = self._cache.path_of(record.digest)
        fetched = ModelVersion(model, version, found.run_id, record.digest, path, record.at)
        if vouched is None or environment is None or known is None:
            return Resolved(fetched, None, unread=vouched is not None)
        return Resolved(fetched, _parsed(known, vouched, (model, version, environment)))

    def fetch(self, model: str, version: int) -> ModelVersion:
        """Require READY, download the artifacts into the cache, and remember their digest.

        Rejected: missing, failed or pending. MLflow gives aliases and stages to such versions too, and READY does not
        mean that the artifacts exist: only the download shows that.
        """
        found = described(self._version(model, version))  # read first: registered again meanwhile, the record is void
        _require_ready(found)

        def download() -> tuple[CachedModel, Fetched]:
            cached = self._cache.fetch(model, version)
            return cached, self._records.remember_version(model, version, Registration.of(found), cached.digest)

        try:
            cached, record = self._cached(model, version, download)
        except (Missing, OversizedVersion) as error:
            self._records.remember_refused(found, str(error))
            raise
        return ModelVersion(model, version, found.run_id, cached.digest, cached.path, record.at)

    def artifacts(self, model: str, version: int, digest: str) -> Path:
        """The directory with exactly these bytes: from the cache (works with the registry down), else downloaded."""
        return self._cached(model, version, lambda: self._cache.obtain(model, version, digest))

    def evidence(self, model: str, version: int, environment: str) -> Evidence | None:
        """The gate's evidence for this environment; None: there is none. Rejected: it is damaged."""
        version_entity = self._version(model, version)
        found = described(version_entity)
        vouched = found.evidence.get(environment)
        if vouched is None:
            return None
        about = (model, version, environment)
        known = self._cached(model, version, lambda: self._records.evidence(model, version, environment, vouched))
        if known is not None:
            return _parsed(known, vouched, about)
        try:
            text = self._read(lambda: read_evidence_text(self._client, version_entity, environment))
            evidence = _parsed(text, vouched, about)
        except Missing as error:
            gone = Rejected(
                f"the evidence of {model} version {version} for {environment} is gone, though its tag is there: "
                f"run ml.evaluate again ({error})"
            )
            self._records.remember_refused(found, str(gone), environment)
            raise gone from error
        except (DamagedEvidence, EvidenceError) as error:
            self._records.remember_refused(found, str(error), environment)
            raise DamagedEvidence(str(error)) from error
        self._cached(model, version, lambda: self._records.remember_evidence(model, version, environment, text))
        return evidence

    def report(self, evidence: Evidence) -> bytes:
        """The page that evidence names. Rejected: it is gone, or not the one that is named."""
        run_id = self._version(evidence.model, evidence.version).run_id
        try:
            return self._list(lambda: read_report(self._client, run_id or "", evidence))
        except EvidenceError as error:
            raise Rejected(str(error)) from error

    def metrics(self, model: str, version: int) -> Mapping[str, float]:
        """The metrics of the version's run, by name; empty without a run, or where it was deleted."""
        run_id = self._version(model, version).run_id
        if not run_id:
            return {}
        try:
            run = self._read(lambda: self._client.get_run(run_id))
        except Missing:
            return {}
        return dict(run.data.metrics)

    def lineage(self, model: str, version: int) -> Mapping[str, str]:
        """Data, code and parameters, from the version's tags and its run; empty where the run was deleted."""

        def ask() -> dict[str, str]:
            found = provenance(self._client, model, version)
            run = self._client.get_run(found["run"]) if "run" in found else None
            return found | {f"param {name}": value for name, value in (run.data.params if run else {}).items()}

        self._version(model, version)
        try:
            return self._read(ask)
        except Missing:
            return {}

    def set_alias(self, model: str, alias: str, version: int | None) -> None:
        """Point the alias at the version; ``None`` deletes it."""

        def holds() -> bool:
            try:
                found = self._or_list_versions(
                    model, lambda: self._read(lambda: self._client.get_registered_model(model))
                )
            except Missing:
                if version is None:
                    return True
                raise
            return (int(found.aliases[alias]) if alias in found.aliases else None) == version

        def act() -> None:
            if version is None:
                self._client.delete_registered_model_alias(model, alias)
            else:
                self._client.set_registered_model_alias(model, alias, str(version))

        what = f"deleting alias {alias} of {model}" if version is None else f"alias {alias} on {model} v{version}"
        self._write(what, model, holds, act)

    def set_stage(self, model: str, version: int, stage: str) -> None:
        """Move this version alone to Staging, Production, Archived or None. Rejected: the registry has no stages."""

        def holds() -> bool:
            return bool((self._version(model, version).current_stage or "None") == stage)

        def act() -> None:
            # Unwrapped: the method warns that stages are deprecated, and silencing a warning is not thread-safe.
            move = inspect.unwrap(type(self._client).transition_model_version_stage)
            move(self._client, model, str(version), stage, archive_existing_versions=False)

        try:
            self._write(f"stage {stage} on {model} v{version}", model, holds, act)
        except Unsupported as error:
            raise Rejected(
                f"this registry has no stages ({error}): take `stage` out of `registry` in the environment files; "
                "the alias is what counts"
            ) from error

    def _write(self, what: str, model: str, holds: Callable[[], bool], act: Callable[[], None]) -> None:
        """Write until the registry shows it. A write that timed out may have taken effect: read before each try."""
        failed = Retryable(f"the registry accepted {what}, but does not show it")
        for _ in range(WRITE_TRIES):
            if holds():
                return
            try:
                self._or_list_versions(model, lambda: mlflow_call.once(act, self._uri, CALL_SECONDS))
            except Retryable as error:
                failed = Retryable(f"{what}: {error}", error.after)
        if not holds():
            raise failed

    def _version(self, model: str, version: int) -> Any:
        return self._or_list_versions(
            model, lambda: self._read(lambda: self._client.get_model_version(model, str(version)))
        )

    def _read(self, call: Callable[[], T]) -> T:
        return mlflow_call.read(call, self._uri, CALL_SECONDS)

    def _list(self, call: Callable[[], T]) -> T:
        return mlflow_call.read(call, self._uri, LIST_SECONDS)

    def _require_worth_asking(self, found: RegisteredVersion, environment: str | None = None) -> None:
        refused = self._records.refused(found, environment)
        if refused is not None and refused.holds:
            raise Rejected(refused.reason)

    def _cached(self, model: str, version: int, call: Callable[[], T]) -> T:
        """Use the cache, and map its errors to ours. Downloads have the cache's own deadline."""
        try:
            return call()
        except ModelMissingError as error:
            raise Missing(str(error)) from error
        except VersionTooLargeError as error:
            raise OversizedVersion(str(error)) from error
        except DigestDiffersError as error:
            raise ArtifactsChanged(str(error)) from error
        except NoRoomError as error:
            raise Retryable(str(error)) from error
        except RegistryUnavailableError as error:
            # Rejected credentials and missing files are no outage: trying again would not help.
            why = mlflow_call.translate(error.__cause__ or error, self._uri)
            raise type(why)(f"the artifacts of {model} version {version}: {why}") from error
        except OSError as error:
            raise Retryable(
                f"the artifacts of {model} version {version} cannot be stored in {self._cache.root}: {error}: "
                "free some disk space or make it writable"
            ) from error

    def _or_list_versions(self, model: str, call: Callable[[], T]) -> T:
        """Make the call; where a version is missing, add which versions exist, or as a hint which models."""
        try:
            return call()
        except Missing as error:
            said = mlflow_call.shown(str(error))
            found = self._list(lambda: self._client.search_model_versions(f"name = '{model}'"))
            if found:
                numbers = _ranges(int(v.version) for v in found)
                raise Missing(f"{said}; {model} has version{'s' if len(found) > 1 else ''} {numbers}") from error
            missing = Missing(f"{said}; {model} has no versions")
            models = self._read(lambda: self._client.search_registered_models(max_results=NAMES_SHOWN))
            missing.hint = f"registered models: {', '.join(m.name for m in models) or 'none'}"
            raise missing from error


def _require_ready(found: RegisteredVersion) -> None:
    if found.status != "READY":
        why = f" ({mlflow_call.shown(found.status_message)})" if found.status_message else ""
        raise Rejected(f"{found.model} version {found.version} is {found.status}{why}, not READY: register it again")


def _parsed(text: str, vouched: str, about: tuple[str, int, str]) -> Evidence:
    try:
        return parse_evidence(text, vouched, about)
    except EvidenceError as error:
        raise DamagedEvidence(str(error)) from error


def _ranges(numbers: Iterable[int]) -> str:
    """1, 2, 3, 7 as ``1-3, 7``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
