"""Gathers from the registry what reviewers compare about two versions of a model."""

from collections.abc import Sequence

from ml.evidence import Evidence
from receiver.core.errors import PinrailError, Rejected, Retryable
from receiver.core.state import Slot
from receiver.planning.fetch import fetched
from receiver.ports import Registry
from receiver.pull_requests.markdown import Signature
from receiver.pull_requests.promotion_body import VersionComparison, VersionFacts
from serving.errors import ServingError
from serving.model.model_dir import describe_outputs, read


def compare(
    registry: Registry, slot: Slot, old: int | None, new: int, notes: Sequence[str] = ()
) -> VersionComparison:
    """Gather what the registry has about both versions. Missing facts are left out, with the reason."""
    return VersionComparison(
        slot,
        version_facts(registry, slot.model, old),
        version_facts(registry, slot.model, new),
        _evidence(registry, slot, new),
        notes,
    )


def version_facts(registry: Registry, model: str, version: int | None) -> VersionFacts:
    """What reviewers compare about one version."""
    if version is None:
        return VersionFacts(None)
    try:
        metrics, lineage = registry.metrics(model, version), registry.lineage(model, version)
        return VersionFacts(version, metrics, lineage, _signature(registry, model, version))
    except Retryable:
        return VersionFacts(version, unknown="the registry could not be asked")
    except Rejected:  # the error holds the registry's address, which must not appear on GitHub
        return VersionFacts(version, unknown="the registry does not have it, or it is not ready")


def _signature(registry: Registry, model: str, version: int) -> Signature | None:
    path = fetched(registry, model, version).path
    try:
        return Signature(read(path).columns, describe_outputs(path))
    except ServingError:  # it has none; that it cannot be served is reported elsewhere
        return None


def _evidence(registry: Registry, slot: Slot, version: int) -> Evidence | None:
    try:
        return registry.evidence(slot.model, version, slot.environment)
    except PinrailError:
        return None
