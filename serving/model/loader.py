"""Model versions on this machine, each under the digest of its bytes.

``<root>/<64 hex>/`` holds a version's artifacts, and ``<root>/index/<model>/<version>.metrics.json`` the metrics of
its run when it was fetched. A directory appears complete or not at all, so processes can share a cache. Nothing here
unpickles or runs what it fetches, and MLflow is imported only to fetch.
"""

import contextlib
import json
import logging
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import DigestDiffersError, ModelMissingError, RegistryUnavailableError, ServingError
from serving.model import download
from serving.model.deadline import within
from serving.model.digest import NOT_CONTENT, bytes_below, digest_tree
from serving.model.download import Bounds, Progress

log = logging.getLogger(__name__)

LITTLE_BYTES = 1 << 20
ABANDONED_SECONDS = 86_400.0  # no download takes this long: its process was killed
RECENT_SECONDS = 86_400.0  # what was used since may be about to be used again
METRICS_SECONDS = 5.0  # metrics are only displayed, so do not wait long for them
# The model names that pins may use. MLflow takes any name; a path must not.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
TEMPORARY = ".new-"
METRICS = ".metrics.json"


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A version's artifacts on this machine."""

    path: Path
    digest: str  # "sha256:<hex>", computed from the bytes at ``path``


class Cache:
    """A content-addressed directory of model versions."""

    def __init__(self, root: Path, tracking_uri: str | None = None, bounds: Bounds = download.USUAL) -> None:
        """``tracking_uri``: None leaves it to MLflow's own settings. ``bounds``: of one whole download."""
        self.root = root
        self._tracking_uri = tracking_uri
        self.bounds = bounds

    def find(self, digest: str) -> Path | None:
        """The artifacts with this digest, or None. Every byte is verified now, and a damaged entry is discarded.

        DigestDiffersError: not a digest.
        """
        path = self.path_of(digest)
        if not path.is_dir():
            return None
        if digest_tree(path) == digest:
            with contextlib.suppress(OSError):  # in a container the cache is read-only
                os.utime(path)  # prune() uses it
            return path
        # Another process discarded it first; or this is a confined server, and whoever started it finds the same.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            path.rename(self._temporary() / "damaged")
        self._sweep()
        return None

    def path_of(self, digest: str) -> Path:
        """The path of artifacts with this digest. Nothing is read: :meth:`find` verifies them.

        DigestDiffersError: not a digest.
        """
        match = DIGEST.fullmatch(digest)
        if match is None:
            raise DigestDiffersError(f"a digest looks like sha256:<64 hexadecimal digits>, not like {digest[:80]!r}")
        return self.root / match[1]

    def metrics_of(self, model: str, version: int) -> Mapping[str, float]:
        """The metrics of the version's run when it was last fetched; empty if unknown."""
        try:
            raw = json.loads(self.metrics_path(model, version).read_bytes())
            return {str(name): float(value) for name, value in raw.items()}
        except (OSError, ValueError, TypeError, AttributeError, ModelMissingError):
            return {}

    def fetch(self, model: str, version: int, expected: str | None = None) -> CachedModel:
        """Download exactly this version into the cache; aliases and stages are never resolved.

        Raises:
            ModelMissingError: no such version, or one without artifacts.
            DigestDiffersError: the artifacts in the registry are not ``expected``; nothing is kept.
            RegistryUnavailableError: not downloaded within the deadline, or the disk is full.
            VersionTooLargeError: it is larger than a version may be.
        """
        metrics = self.metrics_path(model, version)
        place = self.root / f"{TEMPORARY}{model}-{version}"  # after an interruption, a later try goes on with it
        with download.resumable(place, self._temporary) as place:
            source = self._downloaded(model, version, place)
            digest = digest_tree(source)
            if expected is not None and digest != expected:
                raise DigestDiffersError(
                    f"{model} version {version} has unexpected artifacts: found {digest}, expected "
                    f"{expected}. They were changed in the registry's artifact store: register them as a new "
                    f"version, or restore the old ones"
                )
            path = self._keep(source, digest)
        metrics.parent.mkdir(parents=True, exist_ok=True)
        self._note_metrics(model, version, metrics)
        return CachedModel(path, digest)

    def obtain(self, model: str, version: int, digest: str) -> Path:
        """The version's artifacts with this digest: from the cache, or fetched. Raises what :meth:`fetch` does."""
        return self.find(digest) or self.fetch(model, version, digest).path

    def prune(self, in_use: Collection[str], unused_seconds: float, most_bytes: float = math.inf) -> int:
        """Remove versions that were not used for ``unused_seconds``, except ``in_use``, and unfinished downloads.

        Where the rest takes more than ``most_bytes``, what was not used today goes as well, longest unused first.
        Returns how many versions were removed. A removed version is downloaded again when it is needed.
        """
        now, gone = time.time(), 0
        keep = {digest.removeprefix("sha256:") for digest in in_use}
        entries = []
        for path in self.root.iterdir() if self.root.is_dir() else ():
            entry = re.fullmatch("[0-9a-f]{64}", path.name) is not None
            if not (entry or path.name.startswith(TEMPORARY)):
                continue
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                unused = now - path.stat().st_mtime
                if path.name not in keep and unused > (unused_seconds if entry else ABANDONED_SECONDS):
                    gone += self._remove(path) and entry
                elif entry:
                    entries.append((unused, path))
        sizes = {path: bytes_below(path) for _, path in entries}
        over = sum(sizes.values()) - most_bytes
        for unused, path in sorted(entries, reverse=True):
            if over > 0 and path.name not in keep and unused > RECENT_SECONDS and self._remove(path):
                gone, over = gone + 1, over - sizes[path]
        return gone

    def _remove(self, path: Path) -> bool:
        """Remove an entry whole or not at all."""
        place = self._temporary()
        try:
            path.rename(place / "pruned")
        except FileNotFoundError:  # another process was faster
            return False
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return True

    def _keep(self, source: Path, digest: str) -> Path:
        path = self.path_of(digest)
        while True:
            try:
                source.rename(path)
            except OSError:
                if not path.is_dir():
                    raise
                # Already there: the same bytes, unless it is damaged.
                if self.find(digest) is None:
                    continue
            return path

    def _downloaded(self, model: str, version: int, place: Path) -> Path:
        return download.run(
            lambda progress: _download(model, version, place, self._tracking_uri, progress),
            place,
            f"{model} version {version}",
            self.bounds,
        )

    def _note_metrics(self, model: str, version: int, path: Path) -> None:
        """Keep the run's metrics for the server's page, which must work without the registry. Optional."""
        try:
            found = within(METRICS_SECONDS, lambda: _metrics(model, version, self._tracking_uri), "metrics")
        except Exception as error:  # noqa: BLE001 - whatever MLflow raises here, the version is complete
            log.info("%s version %d is cached without its metrics: %s", model, version, type(error).__name__)
        else:
            write_whole(path, json.dumps(found))

    def index(self, model: str, version: int) -> Path:
        """The path prefix of the files about a version. ModelMissingError: not a valid model name."""
        if NAME.fullmatch(model) is None:
            raise ModelMissingError(
                f"{model[:80]!r} is not a valid model name: use letters, digits, dot, hyphen and underscore, "
                f"at most 64, the first a letter or digit"
            )
        return self.root / "index" / model / str(int(version))

    def metrics_path(self, model: str, version: int) -> Path:
        """Where the version's metrics are noted. ModelMissingError: a bad name."""
        return self.index(model, version).with_name(f"{version}{METRICS}")

    def _temporary(self) -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.root))

    def _sweep(self) -> None:
        for path in self.root.glob(f"{TEMPORARY}*/damaged"):
            shutil.rmtree(path.parent, ignore_errors=True)


def write_whole(path: Path, text: str) -> None:
    """Replace the file in one step: readers see the old text or the new one."""
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)  # also readable by a container's user
    Path(name).replace(path)


def _download(model: str, version: int, place: Path, tracking_uri: str | None, progress: Progress) -> Path:
    """The version's artifacts, downloaded below ``place``."""
    from mlflow import MlflowClient

    try:
        client = MlflowClient(tracking_uri)
        uri = client.get_model_version_download_uri(model, str(version))
    except Exception as error:
        raise _explained(error, f"{model} version {version}", "is not in the registry") from error
    try:
        path = download.fetch_files(uri, place / "artifacts", tracking_uri, progress)
    except ServingError:
        raise
    except Exception as error:
        if (free := shutil.disk_usage(place).free) < LITTLE_BYTES:  # MLflow reports a full disk as a missing file
            raise RegistryUnavailableError(
                f"the artifacts of {model} version {version} could not be stored: the disk of {place.parent} is full "
                f"({free >> 10} KiB free). Free some space; the download is tried again"
            ) from error
        raise _explained(error, f"the artifacts of {model} version {version}", "are missing") from error
    for name in NOT_CONTENT:
        (path / name).unlink(missing_ok=True)
    if not (path / "MLmodel").is_file():
        raise ModelMissingError(
            f"the artifacts of {model} version {version} are missing: there is no MLmodel file at the "
            f"registry's path. Register the model again"
        )
    return path


def _metrics(model: str, version: int, tracking_uri: str | None) -> dict[str, float]:
    """The metrics of the version's run, without MLflow's system metrics."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    run_id = client.get_model_version(model, str(version)).run_id
    measured = client.get_run(run_id).data.metrics if run_id else {}
    return {name: value for name, value in measured.items() if not name.startswith("system/")}


def _explained(error: Exception, what: str, if_missing: str) -> ServingError:
    """Map MLflow's many errors to two: missing for good, or not available now."""
    reason = re.sub(r"(?<=//)[^/@\s]+@", "", " ".join(str(error).split()))[:300]  # no credentials of a URL
    code: Any = getattr(error, "error_code", "")
    gone = isinstance(error, FileNotFoundError) or code == "RESOURCE_DOES_NOT_EXIST"
    if gone or "No such file" in reason or "404 Client Error" in reason:  # for one of many files: only in the text
        return ModelMissingError(f"{what} {if_missing}: {reason}")
    return RegistryUnavailableError(f"{what} could not be read from MLflow: {type(error).__name__}: {reason}")
