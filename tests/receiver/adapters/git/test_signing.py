"""Signed commits: with real keys of ssh and gpg, verified by git itself."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.adapters.git.command import Git, parse_remote
from receiver.adapters.git.commits import Author, FileChange, commit_file, fetch_branches, push_branch
from receiver.adapters.git.signing import SigningKey
from receiver.cli.doctor import machine
from receiver.cli.doctor.check import Question, answer
from receiver.core.errors import Rejected
from receiver.github_wiring import build_upstream
from receiver.settings import Settings, load_settings
from tests.support.git_repos import FILES, Origin

PATH = "environments/staging.yaml"
ADA = Author("Ada Lovelace", "ada@example.invalid")


def keygen(path: Path, passphrase: str = "") -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "pinrail", "-f", path]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return keygen(tmp_path / "key")


def push_signed(origin: Origin, directory: Path, key: str) -> str:
    """Push a commit as a promotion does, with the key from the settings; returns it."""
    settings = Settings(pinrail_repo_url=origin.url, pinrail_state_dir=directory / "state", pinrail_signing_key=key)
    repository = Git(directory / "scratch.git", build_upstream(settings).remote)
    parent, _ = fetch_branches(repository, "main", "promote")
    commit = commit_file(repository, parent, FileChange(PATH, FILES[PATH], b"# changed\n"), "Promote", ADA)
    push_branch(repository, commit, "promote", None)
    return commit


def verify(origin: Origin, commit: str, *config: str) -> "subprocess.CompletedProcess[str]":
    command = ["git", "-C", origin.path, *config, "verify-commit", commit]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def allowed(key: Path) -> list[str]:
    signers = key.with_name("allowed-signers")
    signers.write_text(f"{ADA.email} {key.with_name(key.name + '.pub').read_text()}")
    return ["-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={signers}"]


def test_a_pushed_commit_is_signed_with_the_ssh_key(origin: Origin, tmp_path: Path, key: Path) -> None:
    commit = push_signed(origin, tmp_path, str(key))
    assert f'Good "git" signature for {ADA.email}' in verify(origin, commit, *allowed(key)).stderr
    other = keygen(tmp_path / "other")
    assert verify(origin, commit, *allowed(other)).returncode != 0


def test_without_the_setting_commits_are_unsigned(origin: Origin, tmp_path: Path) -> None:
    repository = Git(tmp_path / "scratch.git", parse_remote(origin.url))
    parent, _ = fetch_branches(repository, "main", "promote")
    commit = commit_file(repository, parent, FileChange(PATH, FILES[PATH], b"# changed\n"), "Promote", ADA)
    assert b"gpgsig" not in repository("cat-file", "commit", commit)


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An ssh-agent that holds a key whose file needs a passphrase."""
    directory = tmp_path_factory.mktemp("a")
    key = keygen(directory / "key")
    said = subprocess.run(["ssh-agent", "-a", directory / "s"], check=True, capture_output=True, text=True).stdout
    monkeypatch.setenv("SSH_AUTH_SOCK", str(directory / "s"))
    subprocess.run(["ssh-add", "-q", key], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "a passphrase", "-f", key], check=True, stdin=subprocess.DEVNULL)
    yield key
    pid = re.search(r"SSH_AGENT_PID=(\d+)", said)
    assert pid is not None
    os.kill(int(pid[1]), 15)


@pytest.mark.parametrize("named", ["key", "key.pub"])
def test_a_key_with_a_passphrase_signs_through_the_agent(
    origin: Origin, tmp_path: Path, agent: Path, named: str
) -> None:
    commit = push_signed(origin, tmp_path, str(agent.with_name(named)))
    assert verify(origin, commit, *allowed(agent)).returncode == 0


@pytest.fixture
def keyring(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A keyring of gpg's with one key; its fingerprint."""
    home = tmp_path_factory.mktemp("g")  # short: gpg-agent's socket is in there
    home.chmod(0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    who = f"{ADA.name} <{ADA.email}>"
    gpg = ["gpg", "--batch", "--quiet", "--pinentry-mode=loopback", "--passphrase="]
    subprocess.run([*gpg, "--quick-generate-key", who, "ed25519", "sign"], check=True, capture_output=True)
    listed = subprocess.run(
        ["gpg", "--list-keys", "--with-colons"], check=True, capture_output=True, text=True
    ).stdout
    yield listed.partition("fpr:::::::::")[2].partition(":")[0]
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True)


def test_a_pushed_commit_is_signed_with_the_openpgp_key(origin: Origin, tmp_path: Path, keyring: str) -> None:
    commit = push_signed(origin, tmp_path, keyring)
    assert f'Good signature from "{ADA.name} <{ADA.email}>"' in verify(origin, commit).stderr
    with pytest.raises(Rejected, match="gpg must have its secret key"):
        push_signed(origin, tmp_path / "again", "0" * 40)


def test_a_missing_key_is_named_with_how_to_make_one(origin: Origin, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"found no file .*/gone, .*ssh-keygen -t ed25519"):
        push_signed(origin, tmp_path, str(tmp_path / "gone"))


def test_a_locked_key_is_an_error_at_once_that_names_the_agent(origin: Origin, tmp_path: Path) -> None:
    locked = keygen(tmp_path / "locked", "a passphrase")
    with pytest.raises(Rejected, match=r"PINRAIL_SIGNING_KEY: .*/locked .* passphrase .*ssh-add"):
        push_signed(origin, tmp_path, str(locked))


@pytest.mark.parametrize(("mode", "content"), [(0o644, None), (0o600, "no key at all\n")])
def test_a_file_that_is_no_private_key_of_ours_is_an_error_that_says_so(
    origin: Origin, tmp_path: Path, key: Path, mode: int, content: str | None
) -> None:
    key.with_name("key.pub").unlink()
    if content is not None:
        key.write_text(content)
    key.chmod(mode)
    with pytest.raises(Rejected, match=r"PINRAIL_SIGNING_KEY: .*must hold an SSH key that only its owner can read"):
        push_signed(origin, tmp_path, str(key))


@pytest.mark.parametrize("value", ["key", "ada@example.invalid", "ABC"])
def test_a_setting_that_names_no_key_is_refused_with_what_is_allowed(value: str) -> None:
    with pytest.raises(Rejected, match=r"PINRAIL_SIGNING_KEY: found .*allowed a path to an SSH key, or an OpenPGP"):
        load_settings(pinrail_signing_key=value)


def test_doctor_signs_something_to_try_the_key(tmp_path: Path, key: Path) -> None:
    assert machine.signing_key(SigningKey.parse(str(key))).ok
    gone = Question("signing key", lambda: machine.signing_key(SigningKey.parse("/nowhere/key")), "see the docs")
    (check,) = answer([gone], 20)
    assert not check.ok
    assert "found no file /nowhere/key" in check.found
