"""Addresses of pages elsewhere, made from the settings alone; nothing that a stranger wrote becomes one. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

_SCP_LIKE = re.compile(r"[\w.-]+@([A-Za-z0-9][\w.-]*):([\w./-]+)", re.ASCII)
_PATH = re.compile(r"/[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Links:
    """``repository`` and ``registry``: base addresses, http or https, without credentials; None: there is none."""

    repository: str | None = None
    registry: str | None = None

    def commit(self, revision: str) -> str | None:
        """The page of a commit."""
        return self.repository and f"{self.repository}/commit/{quote(revision, safe='')}"

    def pull_request(self, number: int) -> str | None:
        """The page of a pull request."""
        return self.repository and f"{self.repository}/pull/{number:d}"

    def checks(self, revision: str) -> str | None:
        """The workflow runs of a commit."""
        return self.repository and f"{self.repository}/commit/{quote(revision, safe='')}/checks"

    def version(self, model: str, version: int) -> str | None:
        """The page of a registered version."""
        return self.registry and f"{self.registry}/#/models/{quote(model, safe='')}/versions/{version:d}"


def repository_page(url: str) -> str | None:
    """The web address of ``owner/name`` at a git URL's host; None for a path, or what is no such repository."""
    if found := _SCP_LIKE.fullmatch(url):
        host, path = found[1], f"/{found[2]}"
    else:
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        if parts.scheme not in ("https", "ssh") or not parts.hostname:
            return None
        port = f":{parts.port}" if parts.port and parts.scheme == "https" else ""
        host, path = f"{parts.hostname}{port}", parts.path
    path = path.rstrip("/").removesuffix(".git")
    return f"https://{host}{path}" if _PATH.fullmatch(path) else None


def web_page(url: str) -> str | None:
    """An http or https address without credentials, query and fragment; None: it is another one."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/')}"
