"""What a person is told whose settings are missing or wrong."""

from pathlib import Path

import pytest

from receiver.core.errors import Rejected
from receiver.github_wiring import public_redactor
from receiver.settings import Settings, load_settings, misspelt, read_settings


def test_a_missing_setting_is_asked_for_with_the_file_that_was_read(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as raised:
        load_settings("pinrail_repo_url")
    assert f"PINRAIL_REPO_URL is not set: set it in the environment or in {tmp_path}/.env (there is none" in str(
        raised.value
    )
    assert "``" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "found", "allowed"),
    [
        ("PINRAIL_POLL_SECONDS", "soon", "a number"),
        ("PINRAIL_POLL_SECONDS", "0", "more than 0.0"),
        ("PINRAIL_POLL_SECONDS", "inf", "a finite number"),
        ("PINRAIL_DOWNLOAD_SECONDS", "nan", "a finite number"),
        ("PINRAIL_STABILISE_SECONDS", "-1", "0.0 or more"),
        ("PINRAIL_ADMIN_PORT", "99999", "65535 or less"),
        ("PINRAIL_ADMIN_PORT", "x", "a whole number"),
        ("PINRAIL_HEAL", "perhaps", "true or false"),
        ("PINRAIL_TARGET", "kubernetes", "'auto', 'process' or 'compose'"),
        ("PINRAIL_PROJECT", "Ours", "what matches ^[a-z0-9][a-z0-9_-]{0,31}$"),
    ],
)
def test_a_wrong_setting_is_shown_as_it_was_found_with_what_is_allowed(
    name: str, found: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, found)
    with pytest.raises(Rejected) as raised:
        load_settings()
    assert str(raised.value) == f"settings:\n  {name}: found '{found}', allowed {allowed}: correct it"


@pytest.mark.parametrize("address", ["localhost:5000", "127.0.0.1:5000", "mlflow.example.com", "mlflow:5000/api"])
def test_an_address_of_mlflow_without_a_scheme_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(Rejected) as raised:
        load_settings()
    assert str(raised.value) == (
        f"settings:\n  MLFLOW_TRACKING_URI: found '{address}', allowed a URL: put http:// or https:// in front"
    )


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:5000",
        "databricks",
        "databricks://me",
        "sqlite:///m.db",
        "./mlruns",
        "/srv/m",
        "file:///m",
        "m",
    ],
)
def test_other_addresses_of_mlflow_are_left_to_it(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert load_settings().mlflow_tracking_uri == address


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("hunter2", "found 7 characters, allowed 16 or more for the secret"),
        ("hunter2,", "found 7 characters, allowed 16 or more for each side of the comma"),
        ("h,unter2-and-many-more-characters", "found 1 characters, allowed 16 or more for each side of the comma"),
        ("hunter2-hunter2-hunter2,", "found 0 characters, allowed 16 or more for each side of the comma"),
        ("hunter2-hunter2-1,hunter2-hunter2-2,hunter2-hunter2-3", "found 2 commas, allowed one"),
        ("hunter2-hunter2-\udcff", "found characters that are not UTF-8"),
    ],
)
def test_a_webhook_secret_that_is_short_or_holds_a_comma_is_refused_and_not_shown(
    secret: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINRAIL_WEBHOOK_SECRET", secret)
    with pytest.raises(Rejected) as raised:
        load_settings()
    assert str(raised.value).startswith(f"settings:\n  PINRAIL_WEBHOOK_SECRET: {said}")
    assert "hunter2" not in str(raised.value)


def test_a_short_secret_of_mlflow_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINRAIL_MLFLOW_WEBHOOK_SECRET", "fifteen letters")
    with pytest.raises(Rejected, match="PINRAIL_MLFLOW_WEBHOOK_SECRET: found 15 characters, allowed 16 or more"):
        load_settings()


def test_old_and_new_secret_are_both_accepted_while_rotating(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINRAIL_WEBHOOK_SECRET", "the old secret 1, the new secret 2")
    assert load_settings().webhook_secrets == (b"the old secret 1", b"the new secret 2")


def test_two_listeners_on_one_port_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINRAIL_PUBLIC_PORT", "9001")
    with pytest.raises(Rejected, match=r"^settings:\n  PINRAIL_PUBLIC_PORT and PINRAIL_ADMIN_PORT must differ"):
        load_settings()


def test_a_misspelt_setting_is_found_and_others_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert misspelt() == []
    (tmp_path / ".env").write_text("PINRAIL_TARGT=x\nPINRAIL_XYZZY=1\nOTHER=1\nPINRAIL_BRANCH=main\nGITHUB_TOKN=x\n")
    monkeypatch.setenv("PINRAIL_POLL_SECOND", "5")
    monkeypatch.setenv("GITHUB_TOKN", "x")
    assert misspelt() == [
        "PINRAIL_TARGT in .env is no setting: is PINRAIL_TARGET meant?",
        "PINRAIL_XYZZY in .env is no setting",
        "GITHUB_TOKN in .env is no setting: is GITHUB_TOKEN meant?",
        "PINRAIL_POLL_SECOND in the environment is no setting: is PINRAIL_POLL_SECONDS meant?",
    ]


def test_every_command_names_a_misspelt_setting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".env").write_text("PINRAIL_TARGT=x\n")
    load_settings()
    assert "PINRAIL_TARGT in .env is no setting: is PINRAIL_TARGET meant?" in caplog.messages


def test_values_of_the_env_file_are_taken_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "PINRAIL_BRANCH=a&b\nGITHUB_TOKEN=pa$sword${HOME}\\n\nPINRAIL_NOTIFY_URLS=a://b c://d\n"
    )
    settings = load_settings()
    assert settings.github_token is not None
    assert (settings.pinrail_branch, settings.github_token.get_secret_value()) == ("a&b", "pa$sword${HOME}\\n")
    assert len(settings.pinrail_notify_urls) == 2


def test_the_environment_wins_over_the_env_file_unless_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("PINRAIL_BRANCH=file\nPINRAIL_TARGET=process\n")
    monkeypatch.setenv("PINRAIL_BRANCH", "environment")
    monkeypatch.setenv("PINRAIL_TARGET", "")
    settings = load_settings()
    assert (settings.pinrail_branch, settings.pinrail_target) == ("environment", "process")


def test_an_env_file_that_cannot_be_read_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PINRAIL_BRANCH=main\nhunter2 'x\n")
    with pytest.raises(Rejected, match=r"^settings:\n  \.env:2: found no setting, allowed NAME=value") as raised:
        load_settings()
    assert "hunter2" not in str(raised.value)
    (tmp_path / ".env").write_bytes(b"PINRAIL_BRANCH=\xff\n")
    with pytest.raises(Rejected, match=r"\.env: found bytes that are not UTF-8 at byte 15"):
        load_settings()


def test_the_receivers_ports_are_its_own_where_model_servers_would_meet_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().own_ports == {9000: "PINRAIL_PUBLIC_PORT", 9001: "PINRAIL_ADMIN_PORT"}
    monkeypatch.setenv("PINRAIL_HOST", "192.0.2.1")
    assert load_settings().own_ports == {}


@pytest.mark.parametrize("host", ["mlflow:5000", "user:pass@registry.example"])
def test_what_is_written_on_github_names_no_registry(host: str) -> None:
    redact = public_redactor(Settings(mlflow_tracking_uri=f"https://{host}/base"))
    for form in (f"https://{host}/base", host.rpartition("@")[2]):
        assert redact(f"MLflow at {form} hangs; it needs mlflow==3") == "MLflow at *** hangs; it needs mlflow==3"
    assert public_redactor(Settings(mlflow_tracking_uri="databricks"))("databricks") == "databricks"


@pytest.mark.parametrize(
    "address", ["PINRAIL_REPO_URL=https://elsewhere.example/a/b", "GITHUB_API_URL=https://e.example"]
)
def test_a_token_of_the_environment_is_not_sent_where_the_env_file_says(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"{address}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_TOKEN", "s3cret-token")
    with pytest.raises(
        Rejected, match=r"GITHUB_TOKEN is in the environment, .* is in .env: set both in the same place"
    ):
        read_settings()


@pytest.mark.parametrize(
    "url", ["https://github.com/a/b", "git@host.example:a/b", "ssh://git@host.example/a", "/srv/a"]
)
def test_a_token_of_the_environment_may_go_to_github_whoever_names_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"PINRAIL_REPO_URL={url}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_TOKEN", "s3cret-token")
    assert read_settings().pinrail_repo_url == url
