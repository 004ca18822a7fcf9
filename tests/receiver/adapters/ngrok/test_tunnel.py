import json
import os
import signal
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml
from pyngrok import process

from receiver.adapters.ngrok import tunnel as module
from receiver.adapters.ngrok.tunnel import Tunnel, TunnelOptions, traffic_policy
from receiver.core.backoff import Backoff
from receiver.core.errors import Rejected, Retryable
from tests.support import ngrok_stand_in
from tests.support.ngrok import install_ngrok
from tests.support.waiting import eventually

TOKEN = "2abcDEF_ngrok-token"


class Upstream(BaseHTTPRequestHandler):
    def _any(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = _any  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ``ngrok`` on PATH that is ours; NGROK_AUTHTOKEN is set, as it is for users."""
    program = install_ngrok(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("NGROK_AUTHTOKEN", TOKEN)
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(module, "BACKOFF", Backoff(0.05, 60.0))


class Opened:
    """A tunnel to ``port``, and the public URLs that it told."""

    def __init__(self, tmp_path: Path, port: int, **options: Any) -> None:
        self.urls: list[str] = []
        self.options = TunnelOptions(port, **{"token": TOKEN, "directory": tmp_path / "state", **options})
        self.tunnel = Tunnel(self.options, self.urls.append)

    def __enter__(self) -> Self:
        self.tunnel.start()
        eventually(lambda: self.urls)
        return self

    def __exit__(self, *_: object) -> None:
        self.tunnel.close()

    @property
    def agent(self) -> process.NgrokProcess:
        config = self.tunnel._config
        assert config is not None
        return process.get_process(config)

    def asked_for(self) -> dict[str, Any]:
        (endpoint,) = httpx.get(f"{self.agent.api_url}/api/endpoints").json()["endpoints"]
        asked: dict[str, Any] = endpoint["asked_for"]
        return asked


def test_webhooks_come_through_and_nothing_else(tmp_path: Path, upstream: int) -> None:
    with Opened(tmp_path, upstream) as opened:
        (url,) = opened.urls
        assert httpx.post(f"{url}/webhooks/github", content=b"{}").status_code == 202
        assert httpx.post(f"{url}/webhooks/mlflow", content=b"{}").status_code == 202
        for refused in (
            httpx.get(f"{url}/webhooks/github"),
            httpx.post(f"{url}/api/environments"),
            httpx.get(f"{url}/metrics"),
            httpx.post(f"{url}/"),
        ):
            assert refused.status_code == 404


def test_the_agents_own_api_is_on_loopback_and_the_token_on_no_command_line(tmp_path: Path, upstream: int) -> None:
    with Opened(tmp_path, upstream) as opened:
        config = tmp_path / "state" / "ngrok.yml"
        agent = yaml.safe_load(config.read_text())["agent"]
        assert agent["web_addr"].startswith("127.0.0.1:")
        assert opened.agent.api_url == f"http://{agent['web_addr']}"
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        assert TOKEN not in str(opened.agent.proc.args)


def test_a_reserved_domain_is_asked_for(tmp_path: Path, upstream: int) -> None:
    with Opened(tmp_path, upstream, domain="pins.example.dev") as opened:
        assert opened.asked_for()["url"] == "https://pins.example.dev"
        assert opened.asked_for()["upstream"] == {"url": f"http://127.0.0.1:{upstream}"}


def test_without_a_token_the_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"NGROK_AUTHTOKEN.*--tunnel none"):
        Tunnel(TunnelOptions(9000, None, tmp_path), print)


def test_a_token_that_ngrok_refuses_is_named_and_not_shown(tmp_path: Path, upstream: int) -> None:
    with pytest.raises(Rejected, match="NGROK_AUTHTOKEN") as caught:
        Opened(tmp_path, upstream, token=ngrok_stand_in.BAD_TOKEN).tunnel.open()
    assert ngrok_stand_in.BAD_TOKEN not in str(caught.value)


def test_a_program_that_is_no_ngrok_can_be_tried_again(tmp_path: Path, upstream: int) -> None:
    (tmp_path / "bin" / "ngrok").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(Retryable, match="could not open the tunnel"):
        Opened(tmp_path, upstream).tunnel.open()


def test_signatures_are_checked_at_the_edge_where_the_account_may(tmp_path: Path, upstream: int) -> None:
    with Opened(tmp_path, upstream, github_secret="s3cret") as opened:
        assert opened.asked_for()["traffic_policy"] == traffic_policy("s3cret")
    with Opened(tmp_path, upstream, github_secret="s3cret", token="may-not-verify") as opened:
        assert opened.asked_for()["traffic_policy"] == traffic_policy()
        assert "s3cret" not in json.dumps(opened.asked_for())


def test_a_tunnel_whose_agent_died_is_opened_again_and_reported(tmp_path: Path, upstream: int) -> None:
    with Opened(tmp_path, upstream) as opened:
        os.kill(opened.agent.proc.pid, signal.SIGKILL)
        eventually(lambda: len(opened.urls) == 2)
        assert httpx.post(f"{opened.urls[-1]}/webhooks/github").status_code == 202


def test_a_tunnel_whose_session_was_lost_is_opened_again_and_reported(tmp_path: Path, upstream: int) -> None:
    with Opened(tmp_path, upstream) as opened:
        httpx.delete(f"{opened.agent.api_url}/api/endpoints")
        eventually(lambda: len(opened.urls) == 2)
        assert httpx.post(f"{opened.urls[-1]}/webhooks/github").status_code == 202


def test_opening_again_is_tried_until_it_works(tmp_path: Path, upstream: int) -> None:
    with Opened(tmp_path, upstream) as opened:
        program = tmp_path / "bin" / "ngrok"
        works = program.read_text()
        tries = tmp_path / "tries"
        program.write_text(f"#!/bin/sh\necho x >> {tries}\nexit 3\n")
        os.kill(opened.agent.proc.pid, signal.SIGKILL)
        eventually(lambda: tries.exists() and len(tries.read_text().split()) >= 2)
        program.write_text(works)
        eventually(lambda: len(opened.urls) == 2)


def test_closing_ends_the_agent(tmp_path: Path, upstream: int) -> None:
    with Opened(tmp_path, upstream) as opened:
        agent = opened.agent.proc
        assert agent.poll() is None
    assert agent.poll() is not None
    with pytest.raises(httpx.ConnectError):
        httpx.post(f"{opened.urls[0]}/webhooks/github")


def test_the_agent_knows_none_of_our_secrets(tmp_path: Path, upstream: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "a-token-of-github")
    with Opened(tmp_path, upstream) as opened:
        known = Path(f"/proc/{opened.agent.proc.pid}/environ").read_bytes()
    assert b"PATH=" in known
    assert b"GITHUB_TOKEN" not in known
    assert b"NGROK_AUTHTOKEN" not in known


def test_an_agent_that_outlived_its_receiver_is_ended_before_another_is_started(
    tmp_path: Path, upstream: int
) -> None:
    with Opened(tmp_path, upstream) as killed:
        orphan = killed.agent.proc
        with Opened(tmp_path, upstream):
            assert orphan.wait(10) is not None


def test_a_tunnel_that_cannot_be_opened_at_first_is_opened_later(tmp_path: Path, upstream: int) -> None:
    program = tmp_path / "bin" / "ngrok"
    works = program.read_text()
    tries = tmp_path / "tries"
    program.write_text(f"#!/bin/sh\necho x >> {tries}\nexit 3\n")
    urls: list[str] = []
    tunnel = Tunnel(TunnelOptions(upstream, TOKEN, tmp_path / "state"), urls.append)
    tunnel.start()
    try:
        eventually(lambda: tries.exists() and len(tries.read_text().split()) >= 2)
        program.write_text(works)
        eventually(lambda: urls)
    finally:
        tunnel.close()
