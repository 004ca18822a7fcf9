"""Calls to GitHub's REST API: gidgethub's requests over httpx, with errors that say what to do next.

Synchronous, because the flow is: each call runs to its end, within a deadline, on the calling thread.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any

import gidgethub
import httpx
from gidgethub.httpx import GitHubAPI

from receiver.adapters.time_limit import at_most
from receiver.core.errors import PinrailError, Rejected, Retryable
from receiver.core.redact import Redactor

CALL_SECONDS = 30.0  # GitHub itself gives up after 10
LIST_SECONDS = 150.0  # all pages of the files of a large pull request
LONGEST_WAIT_SECONDS = 3600.0
MAX_ITEMS = 1000  # of a list that is read page by page
RATE_LIMITED = frozenset({403, 429})
SECONDARY = "secondary rate limit"  # it may come without a header that says for how long; GitHub asks for a minute
VERSION = {"x-github-api-version": "2022-11-28"}


class NotFound(Rejected):
    """GitHub has no such thing, or does not show it to this token."""


class Unauthorised(Rejected):
    """GitHub knows no such token."""


class Moved(Rejected):
    """The repository was renamed or belongs to another owner by now."""


class RateLimited(Retryable):
    """GitHub wants no call at all from this token for ``after`` seconds."""


class GitHubClient:
    """One repository at one GitHub.

    ``repository`` is ``owner/name``; ``api_url`` ends in ``/api/v3`` for GitHub Enterprise. In paths, ``{owner}``
    and ``{repo}`` are filled in, and so are the other names that a call gives.
    """

    def __init__(self, repository: str, token: str | None, api_url: str = "https://api.github.com") -> None:
        self.owner, _, self.name = repository.partition("/")
        self._token = token
        self._api_url = api_url
        self._redact = Redactor([token] if token else [])

    def get(self, path: str, **names: object) -> Any:
        """GET one thing."""
        return self._run(
            self._call("GET", path, names),
            lambda api: api.getitem(path, self._names(names), extra_headers={**VERSION}),
        )

    def pages(self, path: str, **names: object) -> list[Any]:
        """GET a list, over all its pages, up to MAX_ITEMS."""

        async def read(api: GitHubAPI) -> list[Any]:
            items: list[Any] = []
            async for item in api.getiter(path, self._names(names), extra_headers={**VERSION}):
                items.append(item)
                if len(items) >= MAX_ITEMS:
                    break
            return items

        found: list[Any] = self._run(self._call("GET", path, names), read, LIST_SECONDS)
        return found

    def post(self, path: str, data: Mapping[str, Any], **names: object) -> Any:
        """POST. The answer to a POST that timed out is unknown: read before doing it again."""
        return self._send("post", path, data, names)

    def patch(self, path: str, data: Mapping[str, Any], **names: object) -> Any:
        """PATCH."""
        return self._send("patch", path, data, names)

    def put(self, path: str, data: Mapping[str, Any], **names: object) -> Any:
        """PUT."""
        return self._send("put", path, data, names)

    def _send(self, method: str, path: str, data: Mapping[str, Any], names: Mapping[str, object]) -> Any:
        def call(api: GitHubAPI) -> Awaitable[Any]:
            send = getattr(api, method)
            answer: Awaitable[Any] = send(path, self._names(names), data=data, extra_headers={**VERSION})
            return answer

        return self._run(self._call(method.upper(), path, names), call)

    def _call(self, method: str, path: str, names: Mapping[str, object]) -> str:
        """The call as people know it: with names filled in, and without its query."""
        known = self._names(names)
        filled = re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], found[0]), path.partition("{?")[0])
        return f"{method} {self._redact.line(filled)}"

    def _names(self, names: Mapping[str, object]) -> dict[str, str]:
        return {"owner": self.owner, "repo": self.name, **{key: str(value) for key, value in names.items()}}

    def _run(self, what: str, call: Callable[[GitHubAPI], Awaitable[Any]], seconds: float | None = None) -> Any:
        limit = at_most(CALL_SECONDS if seconds is None else seconds)

        async def within_deadline() -> Any:
            timeout = httpx.Timeout(CALL_SECONDS, connect=10.0)
            hooks = {"request": [self._require_own_host]}
            async with (
                httpx.AsyncClient(verify=_tls(), timeout=timeout, event_hooks=hooks) as client,
                asyncio.timeout(limit),
            ):
                api = GitHubAPI(client, "pinrail", oauth_token=self._token, base_url=self._api_url)
                try:
                    return await call(api)
                except gidgethub.RedirectionException as error:
                    raise await self._moved(api, error.headers.get("location", "")) from error

        try:
            answer = asyncio.run(within_deadline())
        except gidgethub.HTTPException as error:
            raise self._explained(what, error) from error
        except (httpx.HTTPError, TimeoutError, ValueError, UnicodeError) as error:
            said = self._redact.line(str(error)) or type(error).__name__
            raise Retryable(f"GitHub could not be asked ({what}): {said}") from error
        if isinstance(answer, str) or (isinstance(answer, list) and not all(isinstance(i, dict) for i in answer)):
            raise Retryable(f"GitHub answered something else than JSON to {what}; is GITHUB_API_URL right?")
        return answer

    async def _require_own_host(self, request: httpx.Request) -> None:
        """The token goes nowhere else, whatever GitHub names as the next page. Rejected: another host was named."""
        if _origin(request.url) != _origin(httpx.URL(self._api_url)):
            raise Rejected(f"GitHub refers to another host ({request.url.host}): is GITHUB_API_URL right?")

    async def _moved(self, api: GitHubAPI, location: str) -> Rejected:
        """GitHub answers an old name with a redirect. Following it would hide that all else has the old name."""
        target = httpx.URL(self._api_url).join(location)
        identity = re.search(r"/repositories/(\d+)", target.path)
        if identity is None or _origin(target) != _origin(httpx.URL(self._api_url)):
            return Rejected(
                f"{self._redact.line(self._api_url)} answers with a redirect to {self._redact.line(str(target))}: "
                "set GITHUB_API_URL to the address of the API itself"
            )
        try:
            data = await api.getitem(f"/repositories/{identity[1]}", extra_headers={**VERSION})
            now = f" to {self._redact.line(data['full_name'])}"
        except (gidgethub.GitHubException, KeyError, TypeError):
            now = ""
        return Moved(
            f"GitHub says that {self.owner}/{self.name} was renamed or moved{now}: set PINRAIL_REPO_URL to its new "
            "address, and start the receiver again"
        )

    def _explained(self, what: str, error: gidgethub.HTTPException) -> PinrailError:
        status = int(error.status_code)
        said = f"GitHub answered {status} to {what}: {self._redact.line(str(error))[:300]}"
        wait = _wait(error.headers)
        if status >= 500:  # noqa: PLR2004 - HTTP's own
            return Retryable(said, wait)
        limited = wait is not None or status == 429 or SECONDARY in said.lower()  # noqa: PLR2004 - HTTP's own
        if status in RATE_LIMITED and limited:
            return RateLimited(said, 60.0 if wait is None else wait)
        if status == 401:  # noqa: PLR2004 - HTTP's own
            return Unauthorised(f"{said}. GITHUB_TOKEN is missing, wrong or expired: set a valid one")
        if status == 403:  # noqa: PLR2004 - HTTP's own
            needed = self._redact.line(error.headers.get("x-accepted-github-permissions", ""))
            return Rejected(f"{said}. GITHUB_TOKEN needs more rights{f' ({needed})' if needed else ''}")
        if status in {404, 410}:
            return NotFound(f"{said}. Is {self.owner}/{self.name} right, and may GITHUB_TOKEN see it?")
        return Rejected(said)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


@cache
def _tls() -> ssl.SSLContext:
    """The certificates that are trusted: read once, not for each call."""
    return httpx.create_ssl_context()


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds until GitHub wants to be asked again, where it says so (primary and secondary rate limits)."""
    try:
        if "retry-after" in headers:
            return _bounded(float(headers["retry-after"]))
        if headers.get("x-ratelimit-remaining") == "0":
            return _bounded(float(headers["x-ratelimit-reset"]) - time.time())
    except (KeyError, ValueError):  # a proxy may name a date; that there is a wait counts more than how long
        return 60.0 if "retry-after" in headers else None
    return None


def _bounded(seconds: float) -> float:
    """No limit of GitHub's lasts longer than an hour; more comes of clocks that differ."""
    return max(1.0, min(seconds, LONGEST_WAIT_SECONDS))
