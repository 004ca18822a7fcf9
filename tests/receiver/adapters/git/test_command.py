import base64
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from receiver.adapters.git.advice import explained
from receiver.adapters.git.command import Git, GitFailed, parse_remote
from receiver.adapters.git.mirror import GitSource
from receiver.core.errors import Rejected, Retryable
from tests.support.git_repos import FILES, Origin

TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% /tmp/x",
        "ext::ssh://host/x",
        "http://example.com/r.git",
        "http://169.254.169.254/latest/meta-data",
        "git://example.com/r.git",
        "ftp://example.com/r.git",
        "--upload-pack=touch /tmp/x",
        "-oProxyCommand=x",
        "ssh://-oProxyCommand=x/r.git",
        "ssh://-x@host/r.git",
        "git@-oProxyCommand=x:r.git",
        "git@host:-x",
        "file://host/r.git",
        "file:relative",
        "../r.git",
        "r.git",
        "",
        "https://",
        "https://example.com",
        "https://example.com/a b",
        "https://example.com/a?b",
        "https://example.com/a\n",
        "https://exa\\mple.com/a",
        "https://example.com:port/a",
        "https://[::1/a",
        "https://$(id)/a",
    ],
)
def test_a_url_that_is_not_plain_https_ssh_or_file_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(Rejected, match="PINRAIL_REPO_URL") as caught:
        parse_remote(url)
    assert url in {"", "https://"} or url not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "plain", "scheme"),
    [
        ("https://github.com/o/r.git", "https://github.com/o/r.git", "https"),
        ("https://git.example.com:8443/o/r", "https://git.example.com:8443/o/r", "https"),
        ("https://[::1]:8443/o/r", "https://[::1]:8443/o/r", "https"),
        ("ssh://git@github.com:22/o/r.git", "ssh://git@github.com:22/o/r.git", "ssh"),
        ("git@github.com:o/r.git", "git@github.com:o/r.git", "ssh"),
        ("/srv/git/r.git", "file:///srv/git/r.git", "file"),
        ("file:///srv/git/r.git", "file:///srv/git/r.git", "file"),
    ],
)
def test_plain_urls_are_taken_as_they_are(url: str, plain: str, scheme: str) -> None:
    remote = parse_remote(url, "token" if scheme != "https" else None)
    assert (remote.url, remote.scheme, remote.credential) == (plain, scheme, None)


@pytest.mark.parametrize(
    ("url", "credential"),
    [
        ("https://github.com/o/r", f"x-access-token:{TOKEN}"),
        ("https://user:p%40ss@github.com/o/r", "user:p@ss"),
        ("https://ghp_mine@github.com/o/r", "x-access-token:ghp_mine"),
    ],
)
def test_credentials_are_taken_out_of_the_url_and_out_of_sight(url: str, credential: str) -> None:
    remote = parse_remote(url, TOKEN)
    assert remote.url == "https://github.com/o/r"
    assert remote.credential == credential
    assert credential.partition(":")[2] not in repr(remote)


class _Refusing(BaseHTTPRequestHandler):
    """Answers 403 with everything that it was told, as a careless server would."""

    seen: list[str]

    def do_GET(self) -> None:
        authorization = self.headers["Authorization"] or ""
        type(self).seen.append(authorization)
        body = f"not for {authorization} {base64.b64decode(authorization[6:]).decode()}\n".encode()
        self.send_response(403, f"Forbidden to {authorization}")
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def https_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", key, "-out", certificate, "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
    handler = type("Refusing", (_Refusing,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}/o/r", handler.seen  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that lists the arguments and variables of every git that is run."""
    record, folder = tmp_path / "record", tmp_path / "bin"
    folder.mkdir()
    real = subprocess.run(["which", "git"], check=True, capture_output=True, text=True).stdout.strip()
    script = folder / "git"
    script.write_text(f'#!/bin/sh\n{{ echo "ARGV $@"; env; }} >> {record}\nexec {real} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return record


def test_a_token_reaches_the_server_and_no_argument_file_or_error(
    https_server: tuple[str, list[str]], recorded: Path, tmp_path: Path
) -> None:
    url, seen = https_server
    with pytest.raises(Retryable) as caught:
        GitSource(url, "main", tmp_path / "state" / "mirror.git", token=TOKEN).snapshot()
    encoded = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    assert f"Basic {encoded}" in seen
    arguments = [line for line in recorded.read_text().splitlines() if line.startswith("ARGV")]
    files = [path.read_text(errors="replace") for path in (tmp_path / "state").rglob("*") if path.is_file()]
    for text in [*arguments, *files, str(caught.value), repr(caught.value.__cause__)]:
        assert TOKEN not in text
        assert encoded not in text
    assert "403" in str(caught.value)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (None, r"refuses us; it wants credentials: set GITHUB_TOKEN to a token that may read its contents"),
        (TOKEN, r"refuses us; GITHUB_TOKEN, or the password in PINRAIL_REPO_URL, is wrong, expired, or may not"),
    ],
)
def test_a_401_says_which_setting_is_missing_or_wrong(
    token: str | None, said: str, https_server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unauthorised(self: _Refusing) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="GitHub"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    monkeypatch.setattr(_Refusing, "do_GET", unauthorised)
    with pytest.raises(Retryable, match=said):
        GitSource(https_server[0], "main", tmp_path / "mirror.git", token=token).snapshot()


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("remote: Repository not found. fatal: repository 'https://h/o/r/' not found", "Correct PINRAIL_REPO_URL"),
        ("git@h: Permission denied (publickey).", "Add an ssh key"),
        ("Host key verification failed.", "Add the host's key to known_hosts"),
    ],
)
def test_other_common_refusals_say_what_to_do(said: str, advice: str) -> None:
    assert advice in explained(said, "https://h/o/r", credentials=False)


def test_a_token_does_not_follow_a_redirect_to_another_host(
    https_server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, seen = https_server

    def moved(self: _Refusing) -> None:
        if self.path.startswith("/o/r/"):
            self.send_response(302)
            self.send_header("Location", elsewhere.replace("/o/r", "/new") + self.path.removeprefix("/o/r"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            seen.append(f"followed: {self.headers['Authorization']}")
            self.send_error(404)

    monkeypatch.setattr(_Refusing, "do_GET", moved)
    with pytest.raises(Retryable, match=r"renamed or moved; set PINRAIL_REPO_URL to its new address"):
        GitSource(elsewhere, "main", tmp_path / "mirror.git", token=TOKEN).snapshot()
    assert seen == []


def test_git_sees_no_secret_of_ours_and_no_setting_of_the_users(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = Origin(tmp_path)
    origin.commit(FILES)
    recorded.unlink(missing_ok=True)
    for name in ("GITHUB_TOKEN", "PINRAIL_WEBHOOK_SECRET", "NGROK_AUTHTOKEN", "GIT_TRACE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, "sentinel")
    GitSource(origin.url, "main", tmp_path / "state" / "mirror.git", token="sentinel").snapshot()
    passed = recorded.read_text()
    assert "sentinel" not in passed
    assert "HOME=/nonexistent" in passed
    assert "GIT_ALLOW_PROTOCOL=file" in passed


def test_a_remote_that_never_answers_is_given_up_after_the_deadline(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = parse_remote(f"https://127.0.0.1:{silent.getsockname()[1]}/o/r", TOKEN)
        with pytest.raises(Retryable, match=r"git ls-remote: https://127\.0\.0\.1:\d+/o/r took longer than 0\.3 s"):
            Git(tmp_path, remote)("ls-remote", "--", remote.url, seconds=0.3)


def test_what_git_says_is_shown_on_one_harmless_line(tmp_path: Path) -> None:
    with pytest.raises(GitFailed) as caught:
        Git(tmp_path, parse_remote("/x"))("rev-parse", "--verify", "\x1b[31mred\n::error::x")
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
