"""The repository's webhook on GitHub: there, at the current URL, and delivering."""

from dataclasses import dataclass

from receiver.adapters.github.client import GitHubClient, NotFound

HOOKS = "/repos/{owner}/{repo}/hooks"
EVENTS = ("push", "pull_request")


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook of the repository."""

    id: int
    url: str
    active: bool


@dataclass(frozen=True, slots=True)
class HookDelivery:
    """GitHub's record of one attempt to reach us."""

    id: str  # X-GitHub-Delivery
    event: str
    delivered_at: str  # ISO 8601
    status: str  # "OK", or what went wrong
    code: int  # the HTTP status that we answered


class Hooks:
    """The webhooks of one repository. Needs the token's right to administer them."""

    def __init__(self, client: GitHubClient) -> None:
        self._client = client

    def ensure(self, url: str, secret: str, known: int | None = None) -> int:
        """Have one active hook that sends EVENTS as JSON to ``url``, signed with ``secret``. Returns its id.

        ``known`` is the id from the last time: that hook is moved to the new URL. Without it, one that has this
        URL already is taken over, and else a new one is made. Other people's hooks are not touched.
        """
        config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
        wanted = {"config": config, "events": [*EVENTS], "active": True}
        for hook in (known, self._at(url)):
            if hook is not None:
                try:
                    # The secret cannot be read back, so it is written each time.
                    patched: int = self._client.patch(HOOKS + "/{hook}", wanted, hook=hook)["id"]
                except NotFound:  # somebody has removed it
                    continue
                return patched
        created: int = self._client.post(HOOKS, {"name": "web", **wanted})["id"]
        return created

    def find(self, known: int | None, path: str) -> Hook | None:
        """The hook with the id ``known``, or else the newest one that delivers to ``path`` anywhere."""
        found = [
            Hook(hook["id"], hook["config"].get("url") or "", hook["active"])
            for hook in self._client.pages(HOOKS + "{?per_page}", per_page=100)
        ]
        mine = [hook for hook in found if hook.id == known or hook.url.endswith(path)]
        return max(mine, key=lambda hook: (hook.id == known, hook.id), default=None)

    def last_delivery(self, hook: int) -> HookDelivery | None:
        """The newest delivery, or None where there was none yet. NotFound: the hook is gone."""
        path = HOOKS + "/{hook}/deliveries{?per_page}"
        found = self._client.get(path, hook=hook, per_page=1)
        if not found:
            return None
        newest = found[0]
        return HookDelivery(
            newest["guid"], newest["event"], newest["delivered_at"], newest["status"], newest["status_code"]
        )

    def _at(self, url: str) -> int | None:
        for hook in self._client.pages(HOOKS + "{?per_page}", per_page=100):
            if hook["config"].get("url") == url:
                found: int = hook["id"]
                return found
        return None
