"""How GitHub reaches this receiver: the tunnel, and the repository's webhook that follows it.

All of it is in the background and tried again until it works. Without it the receiver finds commits by polling.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from receiver.adapters.github.hook_record import HookRecord, read_hook, write_hook
from receiver.adapters.github.hooks import Hooks
from receiver.adapters.ngrok.tunnel import Tunnel, TunnelOptions
from receiver.core.backoff import Backoff
from receiver.core.errors import PinrailError, Retryable
from receiver.github_wiring import build_github
from receiver.settings import Settings

log = logging.getLogger(__name__)

PATH = "/webhooks/github"
TUNNEL_SECONDS = 30.0  # how long the summary waits for the tunnel before it says that there is none yet
BACKOFF = Backoff(first=1.0, longest=300.0)
STOP_SECONDS = 2.0  # a call that GitHub does not answer is left alone


@dataclass(frozen=True, slots=True)
class IngressStatus:
    """Where GitHub delivers, in words for a person."""

    public_url: str
    webhook: str


class Ingress:
    """The tunnel and the webhook, from :meth:`start` to :meth:`stop`. ``report`` hears once how the start went."""

    def __init__(self, settings: Settings, *, tunnel: bool, report: Callable[[IngressStatus], None]) -> None:
        """Rejected: a tunnel is asked for, and there is no NGROK_AUTHTOKEN."""
        self._settings = settings
        self._report = report
        self._tunnel = Tunnel(tunnel_options(settings), self._opened) if tunnel else None
        self._url = ""
        self._changed = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        if self._tunnel is not None:
            self._tunnel.start()
        self._thread.start()

    def stop(self) -> None:
        """Close the tunnel. The webhook stays, for the next start to move."""
        self._stopping = True
        self._changed.set()
        if self._tunnel is not None:
            self._tunnel.close()
        self._thread.join(STOP_SECONDS)

    def _opened(self, url: str) -> None:
        self._url = url
        self._changed.set()

    def _run(self) -> None:
        if self._tunnel is None:
            self._report(
                IngressStatus("none of ours (--tunnel none)", "yours to register, or none: polling finds commits")
            )
            return
        self._changed.wait(TUNNEL_SECONDS)
        words, again = self._register()
        if not self._stopping:
            self._report(IngressStatus(self._url or "none yet: the tunnel is tried again", words))
        attempts = 1
        while not self._stopping:
            if self._changed.wait(None if again is None else max(again, BACKOFF.after(attempts))):
                attempts = 1
            else:
                attempts += 1
            if not self._stopping:
                words, again = self._register()
                log.log(
                    logging.INFO if again is None else logging.WARNING,
                    "public URL: %s, webhook: %s",
                    self._url,
                    words,
                )

    def _register(self) -> tuple[str, float | None]:
        """Point the webhook at the tunnel. Returns how that went, and in how many seconds to try again, if at all."""
        self._changed.clear()
        url, settings = self._url, self._settings
        if not url:
            return "waits for the tunnel", None
        client = build_github(settings)
        if client is None or settings.repository is None:
            return f"not registered: set GITHUB_TOKEN, or let a hook deliver to {url}{PATH} by hand", None
        known = read_hook(settings.pinrail_state_dir)
        mine = known.hook if known and known.repository == settings.repository else None
        try:
            # The newest secret: while rotating, the old one is accepted until GitHub has heard of the new one.
            hook = Hooks(client).ensure(url + PATH, settings.webhook_secrets[-1].decode(), mine)
            write_hook(settings.pinrail_state_dir, HookRecord(settings.repository, hook, url + PATH))
        except (PinrailError, OSError) as error:
            after = error.after if isinstance(error, Retryable) else None
            return f"not registered, and tried again: {error}", after or 0.0
        except Exception:
            log.exception("the webhook could not be registered")
            return "not registered, and tried again", 0.0
        return f"{hook} of {settings.repository}", None


def tunnel_options(settings: Settings) -> TunnelOptions:
    """What the tunnel is opened with."""
    token, secrets = settings.ngrok_authtoken, settings.webhook_secrets
    return TunnelOptions(
        port=settings.pinrail_public_port,
        token=token.get_secret_value() if token else None,
        directory=settings.pinrail_state_dir / "ngrok",
        domain=settings.pinrail_tunnel_domain,
        # Ngrok checks against one secret. While two are accepted, only the receiver checks.
        github_secret=secrets[0].decode() if len(secrets) == 1 else None,
    )
