"""What Pinrail keeps in MLflow's registry: versions with the digest of their artifacts, and the gate's evidence.

Evidence is an artifact of the version's run, ``pinrail/evidence/<model>/<version>/<environment>.json``, or a tag of
the version where it has no run. A tag of the version holds the SHA-256 of that text. Both only say what was measured:
who relies on evidence recomputes the digests in it.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml.errors import EvidenceError, RegistryError
from ml.evidence import Evidence
from ml.registry.client import registry_errors
from serving.errors import UnsupportedModelError, VersionTooLargeError
from serving.model import download
from serving.model.download import Bounds
from serving.model.small_files import EVIDENCE, REPORT, read_small

DIGEST_TAG = "pinrail.digest"
EVIDENCE_TAG = "pinrail.evidence."
TEXT_SUFFIX = ".json"  # of the tag with the text itself, where the version has no run; no environment is named so
VERDICT_TAG = "pinrail.verdict."
REGISTRATION_SECONDS = 60
EVIDENCE_SECONDS = 30.0


def register(client: Any, model: str, run_id: str, tags: Mapping[str, str]) -> int:
    """Register the run's ``model`` directory as the next version of ``model``. Returns the version's number."""
    from mlflow.exceptions import MlflowException

    with registry_errors():
        try:
            client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = client.create_model_version(
            model, f"runs:/{run_id}/model", run_id, tags=dict(tags), await_creation_for=REGISTRATION_SECONDS
        )
    return int(version.version)


def find_version(client: Any, model: str, run_id: str) -> int:
    """Return the newest version of ``model`` that this run made. RegistryError: it made none."""
    with registry_errors():
        found = client.search_model_versions(f"name = '{model}'")
    versions = [int(v.version) for v in found if v.run_id == run_id]
    if not versions:
        raise RegistryError(f"run {run_id} registered no version of {model}; was another MODEL_NAME set?")
    return max(versions)


def find_alias(client: Any, model: str, alias: str) -> int | None:
    """Return the version that the alias points at, or None if there is no such alias."""
    with registry_errors():
        found = client.get_registered_model(model).aliases.get(alias)
    return None if found is None else int(found)


def provenance(client: Any, model: str, version: int) -> dict[str, str]:
    """Return what the registry records of the data and code behind a version, for display."""
    with registry_errors():
        found = client.get_model_version(model, str(version))
        run = client.get_run(found.run_id) if found.run_id else None
    facts = {"run": found.run_id, "source": found.source, "data version": found.tags.get("data_version")}
    facts |= {name.removeprefix("pinrail."): v for name, v in found.tags.items() if name.startswith("pinrail.data.")}
    if run is not None:
        facts["code revision"] = run.data.tags.get("mlflow.source.git.commit")
    return {name: str(value) for name, value in facts.items() if value}


def write_report(client: Any, evidence: Evidence, files: Mapping[str, str]) -> bool:
    """Store report files beside the evidence. Returns False if the version has no run to store them in."""
    with registry_errors():
        run_id = client.get_model_version(evidence.model, str(evidence.version)).run_id
        for suffix, text in files.items():
            if run_id:
                client.log_text(run_id, text, _artifact(evidence.model, evidence.version, suffix))
    return bool(run_id)


def write_evidence(client: Any, evidence: Evidence) -> None:
    """Record the evidence of one version for one environment, replacing earlier evidence.

    The text is written first and the tag with its checksum last: after a crash in between the two differ, and the
    evidence is rejected. A second tag shows the outcome to people; nothing relies on it.
    """
    model, version, environment = evidence.model, str(evidence.version), evidence.environment
    text = evidence.to_json()
    with registry_errors():
        run_id = client.get_model_version(model, version).run_id
        if run_id:
            client.log_text(run_id, text, _artifact(evidence.model, evidence.version, f"{environment}.json"))
        else:
            client.set_model_version_tag(model, version, _text_tag(environment), text)
        client.set_model_version_tag(model, version, EVIDENCE_TAG + environment, sha256(text))
        client.set_model_version_tag(model, version, VERDICT_TAG + environment, evidence.outcome.value)


def read_report(client: Any, run_id: str, evidence: Evidence) -> bytes:
    """The page that the evidence names. EvidenceError: it is gone, or other bytes, or too large to be one."""
    model, version = evidence.model, evidence.version
    what = f"the report of {model} version {version} for {evidence.environment}"
    path = _artifact(model, version, f"{evidence.environment}-report.html")
    with registry_errors(), tempfile.TemporaryDirectory() as directory:
        listed = client.list_artifacts(run_id, path.rpartition("/")[0]) if run_id else ()
        size = next((file.file_size for file in listed if file.path == path), None)
        if size is None:
            raise EvidenceError(f"{what} is not among the run's artifacts")
        if size > REPORT.most:
            raise EvidenceError(f"{what} is too large: found {size:,} bytes, allowed {REPORT.most:,}")
        try:
            raw = read_small(Path(client.download_artifacts(run_id, path, directory)), REPORT)
        except UnsupportedModelError as error:
            raise EvidenceError(f"{what}: {error}") from error
    if f"sha256:{hashlib.sha256(raw).hexdigest()}" != evidence.report:
        raise EvidenceError(f"{what} is not the one that the evidence names")
    return raw


def vouched_text(version: Any, environment: str) -> str | None:
    """Return the SHA-256 of the evidence, from a tag of an MLflow ``ModelVersion``; None: none is recorded."""
    found = version.tags.get(EVIDENCE_TAG + environment)
    return None if found is None else str(found)


def vouched_texts(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of every evidence text in the tags of one version, by environment."""
    named = {name.removeprefix(EVIDENCE_TAG): str(v) for name, v in tags.items() if name.startswith(EVIDENCE_TAG)}
    return {environment: v for environment, v in named.items() if not environment.endswith(TEXT_SUFFIX)}


def parse_evidence(text: str, checksum: str, about: tuple[str, int, str]) -> Evidence:
    """Parse evidence; ``about``: the model, version and environment that it has to be about.

    EvidenceError: the text does not match the checksum in the tag, or it is about something else.
    """
    model, version, environment = about
    what = f"the evidence of {model} version {version} for {environment}"
    if sha256(text) != checksum:
        raise EvidenceError(f"{what} does not match the checksum in its tag; run ml.evaluate again")
    try:
        evidence = Evidence.from_json(text)
    except ValueError as error:
        raise EvidenceError(f"{what}: {error}; run ml.evaluate again") from error
    if (evidence.model, evidence.version, evidence.environment) != (model, version, environment):
        raise EvidenceError(
            f"{what} is about {evidence.model} version {evidence.version} for {evidence.environment};"
            " run ml.evaluate again"
        )
    return evidence


def tagged_text(version: Any, environment: str) -> str | None:
    """Return the evidence's text from a tag, where it is stored if the version has no run."""
    return None if version.run_id else str(version.tags.get(_text_tag(environment), ""))


def read_evidence_text(client: Any, version: Any, environment: str) -> str:
    """Return the stored text of the evidence, without checking it. EvidenceError: it is too large to be any."""
    tagged = tagged_text(version, environment)
    if tagged is not None:
        return tagged
    path = _artifact(version.name, int(version.version), f"{environment}.json")
    what = f"the evidence of {version.name} version {version.version} for {environment}"
    with registry_errors(), tempfile.TemporaryDirectory() as directory:
        bounds = Bounds(EVIDENCE_SECONDS, EVIDENCE.most / 1e6)
        place, uri = Path(directory), f"runs:/{version.run_id}/{path}"
        try:
            found = download.run(lambda _: download.fetch_file(uri, place, client.tracking_uri), place, what, bounds)
            return read_small(found, EVIDENCE).decode(errors="replace")  # other bytes fail the checksum
        except (UnsupportedModelError, VersionTooLargeError) as error:
            raise EvidenceError(f"{what} has more than {EVIDENCE.most:,} bytes: {EVIDENCE.advice}") from error


def _artifact(model: str, version: int, file: str) -> str:
    # A run can be registered more than once, hence model and version in the path.
    return f"pinrail/evidence/{model}/{version}/{file}"


def _text_tag(environment: str) -> str:
    return f"{EVIDENCE_TAG}{environment}{TEXT_SUFFIX}"


def sha256(text: str) -> str:
    """Return what the tag holds for this text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
