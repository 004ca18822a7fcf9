"""Fetching what has to be judged: the one step before a decision that downloads artifacts, and so takes its time.

Plans and statuses call :func:`receiver.planning.assess.assess`, which never gets here. A slot's deployment, and what
plans or proposes pull requests, need a digest and evidence to decide on.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from ml.environment.file import Pin
from receiver.core.errors import Rejected, Retryable
from receiver.core.policy import Hold, HoldState
from receiver.core.state import RegisteredVersion, RegistryView, Slot
from receiver.planning.assess import Assessment, assess, override_of
from receiver.planning.observe import Observation
from receiver.ports import ModelVersion, Registry
from receiver.services import Services


def fetch_and_assess(services: Services, seen: Observation, slot: Slot) -> Assessment:
    """Assess a slot and, where that takes a version that is not here, fetch it and assess again."""
    found = assess(services, seen, slot)
    environment, pin = seen.pin(slot)
    if found.unfetched is None or environment is None or pin is None:
        return found
    try:
        views = _fetch(services.registry, pin, None if override_of(pin) else environment.name)
    except Rejected as error:
        return replace(found, hold=Hold(HoldState.REFUSED, str(error)), unfetched=None)
    except Retryable as error:
        return replace(found, hold=None, retry=str(error), unfetched=None)
    found = assess(services, replace(seen, registry={**seen.registry, **views}), slot)
    if found.unfetched is not None:
        changed = f"{pin.model} v{pin.version} changed in the registry while it was downloaded"
        return replace(found, hold=None, retry=changed, unfetched=None)
    return found


def fetched(registry: Registry, model: str, version: int) -> ModelVersion:
    """The version as it was fetched before, else fetched now. Raises as :meth:`Registry.fetch` does."""
    found = _described(registry.observe({model: [version]}), model, version)
    with suppress(Rejected):  # perhaps by what was refused before: who asks for this version wants to know it now
        resolved = registry.resolve(found) if found is not None else None
        if resolved is not None:
            return resolved.version
    return registry.fetch(model, version)


def _fetch(registry: Registry, pin: Pin, environment: str | None) -> Mapping[str, RegistryView | None]:
    """Fetch what there is to judge; returns how the registry describes it after that."""
    evidence = registry.evidence(pin.model, pin.version, environment) if environment is not None else None
    views = registry.observe({pin.model: [pin.version]})
    found = _described(views, pin.model, pin.version)
    resolved = registry.resolve(found) if found is not None else None
    # The gate may have measured later than we fetched: the artifacts may be others by now.
    if resolved is None or (evidence is not None and evidence.model_digest != resolved.version.digest):
        registry.fetch(pin.model, pin.version)
    return views


def _described(views: Mapping[str, RegistryView | None], model: str, version: int) -> RegisteredVersion | None:
    view = views[model]
    return view.versions[version] if view is not None else None
