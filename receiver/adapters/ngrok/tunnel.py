"""The tunnel from the internet to the public listener: ngrok, kept open, and no wider than the webhooks need.

ngrok's agent has an API without a login, which can open further tunnels: it stays on loopback, on a port of its own.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from receiver.adapters.ngrok import agent as ngrok_agent
from receiver.core.backoff import Backoff
from receiver.core.errors import PinrailError, Rejected, Retryable
from receiver.core.redact import Redactor

if TYPE_CHECKING:
    from pyngrok.conf import PyngrokConfig

log = logging.getLogger(__name__)

ENDPOINT = "pinrail"
WATCH_SECONDS = 5.0
BACKOFF = Backoff(first=1.0, longest=60.0)
# ngrok's own numbers: https://ngrok.com/docs/errors
TOKEN_ERRORS = ("ERR_NGROK_105", "ERR_NGROK_106", "ERR_NGROK_107", "ERR_NGROK_4018")
NO_EDGE_VERIFICATION = "ERR_NGROK_9016"  # this account may not verify webhooks at the edge


@dataclass(frozen=True, slots=True)
class TunnelOptions:
    """What to open."""

    port: int  # of the public listener on loopback
    token: str | None  # NGROK_AUTHTOKEN
    directory: Path  # for the agent's configuration; not readable by others
    domain: str | None = None  # a reserved one; without it ngrok chooses a name
    github_secret: str | None = None  # lets ngrok check GitHub's signatures too, where the account may


def traffic_policy(github_secret: str | None = None) -> dict[str, Any]:
    """Ngrok's rules: only ``POST /webhooks/*`` comes through, and GitHub's only if it is signed."""
    rules: list[dict[str, Any]] = [
        {
            "name": "only webhooks",
            "expressions": ["req.method != 'POST' || !req.url.path.startsWith('/webhooks/')"],
            "actions": [{"type": "deny", "config": {"status_code": 404}}],
        }
    ]
    if github_secret is not None:
        verify = {"type": "verify-webhook", "config": {"provider": "github", "secret": github_secret}}
        rules.append(
            {
                "name": "signed by GitHub",
                "expressions": ["req.url.path == '/webhooks/github'"],
                "actions": [verify],
            }
        )
    return {"on_http_request": rules}


class Tunnel:
    """One tunnel, opened again with growing pauses whenever it drops, until :meth:`close`."""

    def __init__(self, options: TunnelOptions, opened: Callable[[str], None]) -> None:
        """``opened`` hears every public URL, the first and each later one, to tell GitHub where to deliver."""
        if not options.token:
            raise Rejected(
                "a tunnel needs NGROK_AUTHTOKEN: copy yours from "
                "https://dashboard.ngrok.com/get-started/your-authtoken, or run with `--tunnel none` "
                "if GitHub can reach you in another way"
            )
        self._options = options
        self._opened = opened
        self._redact = Redactor([secret for secret in (options.token, options.github_secret) if secret])
        self._config: PyngrokConfig | None = None
        self._url = ""
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="tunnel", daemon=True)

    def start(self) -> None:
        """Open the tunnel in the background, and keep it open from here on."""
        self._watcher.start()

    def close(self) -> None:
        """End the tunnel and ngrok's agent."""
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self._end_agent()

    def open(self) -> str:
        """Open the tunnel once and return its public URL.

        Raises:
            Rejected: ngrok does not accept the token.
            Retryable: ngrok could not be started or reached.
        """
        from pyngrok.exception import PyngrokError

        try:
            self._config = ngrok_agent.configure(self._options.directory, self._options.token or "")
            self._url = self._connect(self._config)
        except (PyngrokError, OSError) as error:
            self._end_agent()
            raise self._explain(error) from error
        self._opened(self._url)
        return self._url

    def _connect(self, config: "PyngrokConfig") -> str:
        """Start the agent where it is not running, and have it open the endpoint."""
        from pyngrok import ngrok
        from pyngrok.exception import PyngrokNgrokHTTPError

        options: dict[str, Any] = {"upstream": {"url": f"http://127.0.0.1:{self._options.port}"}}
        if self._options.domain:
            options["url"] = f"https://{self._options.domain}"
        secret = self._options.github_secret
        try:
            tunnel = ngrok.connect(
                name=ENDPOINT, pyngrok_config=config, traffic_policy=traffic_policy(secret), **options
            )
        except PyngrokNgrokHTTPError as error:
            if secret is None or NO_EDGE_VERIFICATION not in str(error):
                raise
            log.info("this ngrok account may not check signatures at the edge; the receiver checks them anyway")
            tunnel = ngrok.connect(name=ENDPOINT, pyngrok_config=config, traffic_policy=traffic_policy(), **options)
        return str(tunnel.public_url)

    def _watch(self) -> None:
        """Open the tunnel, and again whenever it is gone."""
        pause, failures = 0.0, 0
        while not self._stopping.wait(pause):
            if self._is_up():
                pause, failures = WATCH_SECONDS, 0
                continue
            if self._url:
                log.warning("the tunnel at %s dropped; polling goes on while it is opened again", self._url)
            self._end_agent()
            try:
                self.open()
                pause = WATCH_SECONDS
            except PinrailError as error:
                failures += 1
                pause = BACKOFF.after(failures)
                log.warning("the tunnel stays closed for %g s more, and polling goes on: %s", pause, error)
            except Exception:
                failures += 1
                pause = BACKOFF.after(failures)
                log.exception("the tunnel could not be opened")

    def _is_up(self) -> bool:
        """The agent runs and still has our endpoint."""
        from pyngrok import ngrok, process
        from pyngrok.exception import PyngrokError

        config = self._config
        if config is None or not self._url or not process.is_process_running(config.ngrok_path):
            return False
        agent = process.get_process(config)
        try:
            answer: Mapping[str, Any] = ngrok.api_request(f"{agent.api_url}/api/endpoints", timeout=WATCH_SECONDS)
        except (PyngrokError, OSError, ValueError):
            return False
        return any(endpoint.get("url") == self._url for endpoint in answer.get("endpoints", ()))

    def _end_agent(self) -> None:
        if self._config is not None:
            ngrok_agent.end(self._config)

    def _explain(self, error: Exception) -> PinrailError:
        said = self._redact.line(str(error))[:300]
        if any(number in said for number in TOKEN_ERRORS):
            return Rejected(f"ngrok does not accept NGROK_AUTHTOKEN: {said}")
        return Retryable(f"ngrok could not open the tunnel: {said}")
