from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.adapters.github.hook_record import HookRecord, write_hook
from receiver.adapters.sqlite.state_lock import exclusive
from receiver.cli.doctor import github as doctor
from receiver.core.errors import Rejected
from receiver.settings import Settings
from tests.support.github_server import TOKEN, FakeGitHub, Fault, serving
from tests.support.github_spec import require_description
from tests.support.intake import github_headers, push, running_intake
from tests.support.ports import free_port

require_description()

OK = {"guid": "0b989ba4-242f-11e5-81e1-c7b6966d2516", "event": "push", "delivered_at": "2026-01-02T03:04:05Z"}


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    fake = FakeGitHub("owner/models")
    with serving(fake):
        yield fake


@pytest.fixture
def settings(github: FakeGitHub, tmp_path: Path) -> Settings:
    state = tmp_path / "state"
    state.mkdir()
    return Settings(
        pinrail_repo_url="https://github.com/owner/models.git",
        pinrail_state_dir=state,
        github_token=TOKEN,
        github_api_url=github.url,
        ngrok_authtoken="2abcDEF_ngrok-token",
    )


def hook(github: FakeGitHub, *, active: bool = True, url: str = "https://one.example.com/webhooks/github") -> int:
    github.hooks[7] = {
        "type": "Repository",
        "id": 7,
        "name": "web",
        "active": active,
        "events": ["push"],
        "config": {"url": url, "content_type": "json", "insecure_ssl": "0", "secret": "********"},
        "updated_at": "2026-01-02T03:04:05Z",
        "created_at": "2026-01-02T03:04:05Z",
        "url": "https://api.github.com/repos/owner/models/hooks/7",
        "test_url": "https://api.github.com/repos/owner/models/hooks/7/test",
        "ping_url": "https://api.github.com/repos/owner/models/hooks/7/pings",
        "deliveries_url": "https://api.github.com/repos/owner/models/hooks/7/deliveries",
        "last_response": {"code": None, "status": "unused", "message": None},
    }
    return 7


def test_a_token_is_judged_by_what_it_may(github: FakeGitHub, settings: Settings) -> None:
    assert (doctor.token(settings).ok, doctor.token(settings).todo) == (True, "")
    github.permissions["admin"] = False
    assert "administrator" in doctor.token(settings).todo
    github.permissions["push"] = False
    assert not doctor.token(settings).ok


def test_a_token_that_github_does_not_know_is_refused(settings: Settings) -> None:
    with pytest.raises(Rejected, match="GITHUB_TOKEN is missing, wrong or expired"):
        doctor.token(settings.model_copy(update={"github_token": type(settings.github_token)("ghp_wrong")}))  # type: ignore[misc]


def test_without_a_token_or_a_hook_it_works_by_polling(settings: Settings) -> None:
    assert "polling" in doctor.webhook(settings).found
    tokenless = settings.model_copy(update={"github_token": None, "ngrok_authtoken": None})
    checks = [doctor.token(tokenless), doctor.webhook(tokenless), doctor.tunnel(tokenless)]
    assert [check.ok for check in checks] == [True] * 3


def test_a_hook_that_a_running_receiver_should_have_made_is_missed(settings: Settings) -> None:
    with exclusive(settings.pinrail_state_dir):
        assert not doctor.webhook(settings).ok


def test_the_hook_is_there_and_delivers_or_is_not_well(github: FakeGitHub, settings: Settings) -> None:
    key = hook(github)
    assert "no delivery yet" in doctor.webhook(settings).found
    github.deliveries[key] = [OK | {"status": "OK", "status_code": 202}]
    assert doctor.webhook(settings).ok
    github.deliveries[key] = [OK | {"status": "failed to connect to host", "status_code": 502}]
    failed = doctor.webhook(settings)
    assert (failed.ok, "502 failed to connect" in failed.found) == (False, True)
    github.deliveries[key] = [OK | {"status": "Unauthorized", "status_code": 401}]
    assert "PINRAIL_WEBHOOK_SECRET" in doctor.webhook(settings).todo
    hook(github, active=False)
    assert "is disabled" in doctor.webhook(settings).found


def test_a_repository_that_was_renamed_is_not_well_with_a_token_and_without(
    github: FakeGitHub, settings: Settings
) -> None:
    moved = Fault(301, {"Location": f"{github.url}/repositories/42"}, body=b'{"message": "Moved Permanently"}')
    github.faults += [moved, Fault(200, body=b'{"full_name": "new-owner/models"}')]
    with pytest.raises(Rejected, match="was renamed or moved to new-owner/models: set PINRAIL_REPO_URL"):
        doctor.token(settings)
    with running_intake(settings.pinrail_state_dir) as intake:
        assert doctor.deliveries(settings).ok
        for repository in ("owner/models", "new-owner/models"):
            with intake.database.transaction() as db:
                db.execute("DELETE FROM deliveries")
            body = push(repository={"full_name": repository})
            intake.request("/webhooks/github", body, github_headers(body))
            assert doctor.deliveries(settings).ok == (repository == "owner/models")


def test_the_way_through_the_public_url_is_walked(settings: Settings, tmp_path: Path) -> None:
    state = settings.pinrail_state_dir
    assert "no receiver runs" in doctor.tunnel(settings).found
    with exclusive(state), running_intake(tmp_path / "intake") as intake:
        assert "is unknown" in doctor.tunnel(settings).found
        write_hook(state, HookRecord("owner/models", 7, f"http://127.0.0.1:{intake.port}/webhooks/github"))
        assert doctor.tunnel(settings).found.endswith("leads here")
        write_hook(state, HookRecord("owner/models", 7, f"http://127.0.0.1:{intake.port}/elsewhere"))
        assert not doctor.tunnel(settings).ok
        write_hook(state, HookRecord("owner/models", 7, f"http://127.0.0.1:{free_port()}/webhooks/github"))
        assert not doctor.tunnel(settings).ok
