"""Reads evidence back from a registry."""

from typing import Any

from ml.evidence import Evidence
from ml.registry.client import registry_errors
from ml.registry.versions import parse_evidence, read_evidence_text, vouched_text


def recorded_evidence(client: Any, model: str, version: int, environment: str) -> Evidence | None:
    """Return the evidence for this environment, or None if there is none.

    EvidenceError: text and tag differ, or it is evidence of something else. RegistryError: MLflow did not answer.
    """
    with registry_errors():
        found = client.get_model_version(model, str(version))
    checksum = vouched_text(found, environment)
    if checksum is None:
        return None
    return parse_evidence(read_evidence_text(client, found, environment), checksum, (model, version, environment))
