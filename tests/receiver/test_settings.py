"""What a person is told whose settings are missing or wrong."""

from pathlib import Path

import pytest

from receiver.core.errors import Rejected
from receiver.settings import load_settings, misspelt


def test_a_missing_setting_is_asked_for_with_the_file_that_was_read(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as raised:
        load_settings("pinrail_repo_url")
    assert f"PINRAIL_REPO_URL is not set: set it in the environment or in {tmp_path}/.env (there is none" in str(
        raised.value
    )
    assert "``" not in str(raised.value)


def test_a_wrong_setting_is_shown_as_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINRAIL_POLL_SECONDS", "soon")
    monkeypatch.setenv("PINRAIL_ADMIN_PORT", "99999")
    with pytest.raises(Rejected, match=r"PINRAIL_POLL_SECONDS: found 'soon'\. Input should be") as raised:
        load_settings()
    assert "PINRAIL_ADMIN_PORT: found '99999'. " in str(raised.value)


def test_a_wrong_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINRAIL_WEBHOOK_SECRET", "hunter2,")
    with pytest.raises(Rejected, match=r"^settings:\n  PINRAIL_WEBHOOK_SECRET: must not be empty") as raised:
        load_settings()
    assert "hunter2" not in str(raised.value)


def test_two_listeners_on_one_port_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINRAIL_PUBLIC_PORT", "9001")
    with pytest.raises(Rejected, match=r"^settings:\n  PINRAIL_PUBLIC_PORT and PINRAIL_ADMIN_PORT must differ"):
        load_settings()


def test_a_misspelt_setting_is_found_and_others_are_left_alone(tmp_path: Path) -> None:
    assert misspelt() == []
    (tmp_path / ".env").write_text("PINRAIL_TARGT=x\nPINRAIL_XYZZY=1\nOTHER=1\nPINRAIL_BRANCH=main\n")
    assert misspelt() == [
        "PINRAIL_TARGT in .env is no setting: is PINRAIL_TARGET meant?",
        "PINRAIL_XYZZY in .env is no setting",
    ]
