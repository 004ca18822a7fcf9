"""Observing one model of a registry, as the flow observes all of them."""

from receiver.core.state import RegistryView
from receiver.ports import Registry, Resolved


def view_of(registry: Registry, model: str, *versions: int) -> RegistryView:
    """The view of a registered model, in which these versions are described."""
    view = registry.observe({model: versions})[model]
    assert view is not None, f"{model} is not registered"
    return view


def resolve(registry: Registry, model: str, version: int, environment: str | None = None) -> Resolved | None:
    """What is known of a registered version, by how the registry describes it now."""
    found = view_of(registry, model, version).versions[version]
    assert found is not None, f"{model} has no version {version}"
    return registry.resolve(found, environment)
