import os
import time
from pathlib import Path

import pytest

from receiver.core.backoff import Backoff
from receiver.core.errors import Rejected
from receiver.daemon import ingress as module
from receiver.daemon.ingress import Ingress, IngressStatus, tunnel_options
from receiver.settings import Settings
from tests.support.github_server import TOKEN, FakeGitHub, Fault, serving
from tests.support.github_spec import require_description
from tests.support.ngrok import install_ngrok
from tests.support.ports import free_port
from tests.support.waiting import eventually


def settings(tmp_path: Path, **more: object) -> Settings:
    return Settings(
        **{  # type: ignore[arg-type]
            "pinrail_repo_url": "https://github.com/owner/models.git",
            "pinrail_webhook_secret": "one secret of ours",
            "pinrail_state_dir": tmp_path / "state",
            "pinrail_public_port": free_port(),
            "ngrok_authtoken": "2abcDEF_ngrok-token",
            **more,
        }
    )


def said(ingress: Ingress, report: list[IngressStatus]) -> IngressStatus:
    ingress.start()
    try:
        eventually(lambda: report, 20)
    finally:
        ingress.stop()
    return report[0]


def test_the_reserved_domain_and_the_one_secret_reach_the_tunnel(tmp_path: Path) -> None:
    options = tunnel_options(settings(tmp_path, pinrail_tunnel_domain="pins.example.dev"))
    assert (options.domain, options.github_secret) == ("pins.example.dev", "one secret of ours")


def test_while_secrets_rotate_the_receiver_alone_checks_signatures(tmp_path: Path) -> None:
    rotating = settings(tmp_path, pinrail_webhook_secret="the old secret of ours, the new secret of ours")
    assert tunnel_options(rotating).github_secret is None


def test_without_a_tunnel_of_ours_nothing_is_registered(tmp_path: Path) -> None:
    report: list[IngressStatus] = []
    reached = said(Ingress(settings(tmp_path), tunnel=False, report=report.append), report)
    assert "--tunnel none" in reached.public_url
    assert "polling" in reached.webhook


def test_without_a_token_for_github_the_url_to_set_by_hand_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = install_ngrok(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    report: list[IngressStatus] = []
    reached = said(Ingress(settings(tmp_path), tunnel=True, report=report.append), report)
    assert reached.public_url.startswith("http://127.0.0.1:")
    assert f"GITHUB_TOKEN, or let a hook deliver to {reached.public_url}/webhooks/github" in reached.webhook


def test_a_tunnel_without_a_token_for_ngrok_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="NGROK_AUTHTOKEN"):
        Ingress(settings(tmp_path, ngrok_authtoken=None), tunnel=True, report=print)


def test_a_github_that_limits_the_rate_is_not_asked_again_sooner_than_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_description()
    program = install_ngrok(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(module, "BACKOFF", Backoff(0.01, 300.0))
    github, report = FakeGitHub("owner/models"), list[IngressStatus]()
    github.faults.append(Fault(403, {"Retry-After": "1"}))
    with serving(github) as url:
        ingress = Ingress(
            settings(tmp_path, github_token=TOKEN, github_api_url=url), tunnel=True, report=report.append
        )
        ingress.start()
        eventually(lambda: report, 20)
        limited = time.monotonic()
        eventually(lambda: github.hooks, 20)
        assert time.monotonic() - limited > 0.9
        ingress.stop()
