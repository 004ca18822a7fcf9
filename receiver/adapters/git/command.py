"""Running git: where it may go, what it may know, and how long it may take.

Git sees none of the user's or the machine's configuration, runs no hooks, asks nobody, and speaks one protocol, the
URL's. Credentials travel in its environment alone: never in an argument, a URL, a file, a log or an error.
"""

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from receiver.adapters import shell
from receiver.adapters.git.advice import explained
from receiver.adapters.git.signing import SigningKey
from receiver.adapters.time_limit import at_most
from receiver.core.errors import PinrailError, Rejected, Retryable
from receiver.core.redact import Redactor

LOCAL_SECONDS = 30.0  # for what needs no network
NETWORK_SECONDS = 60.0

# What the operator may say about how to reach the remote.
REACH = ("SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH")

SCP_LIKE = re.compile(r"[\w.-]+@[A-Za-z0-9][\w.-]*:(?![-/:])[^\s\\]+", re.ASCII)
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]")


class GitFailed(PinrailError):  # noqa: N818 - says what happened
    """Git ended with an error; the text is what it said, without secrets. Wrapped before it leaves the adapters."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository to fetch from and push to. ``url`` holds no credentials."""

    url: str
    scheme: str  # https, ssh or file
    credential: str | None = field(default=None, repr=False)  # "user:password", for https
    mirror: Path | None = None  # of it on this machine; it need not be there
    signing_key: SigningKey | None = None  # of commits that are pushed there


def parse_remote(url: str, token: str | None = None) -> Remote:
    """Read the repository's URL from the settings.

    Credentials inside an https URL are taken out of it; ``token`` is used where there are none.
    Rejected: anything but https, ssh, ``user@host:path``, ``file:///path`` or an absolute path.
    """
    if SCP_LIKE.fullmatch(url):
        return Remote(url, "ssh")
    if url.startswith("/") and url.isprintable():
        return Remote(f"file://{url}", "file")
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise Rejected(_refusal("a URL that cannot be read")) from None
    clean = url.isprintable() and not re.search(r"[\s\\]", url) and not parts.query and not parts.fragment
    host = parts.netloc.rpartition("@")[2].removesuffix(port)
    if not clean or "::" in parts.scheme or "::" in url.partition("//")[0]:
        raise Rejected(_refusal("a URL with a transport helper, spaces, a query or characters that do not show"))
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return Remote(url, "file")
    if parts.scheme not in {"https", "ssh"} or not HOST.fullmatch(host) or not parts.path.strip("/"):
        raise Rejected(_refusal(f"a {parts.scheme or 'relative'} URL"))
    if parts.scheme == "ssh":
        user = f"{parts.username}@" if parts.username else ""
        if not re.fullmatch(r"([\w.][\w.-]*@)?", user, re.ASCII):
            raise Rejected(_refusal("an ssh URL with a strange user"))
        return Remote(f"ssh://{user}{host}{port}{parts.path}", "ssh")
    own = ":".join(unquote(part) for part in (parts.username, parts.password) if part)
    given = f"x-access-token:{token}" if token else None
    credential = (own if ":" in own else f"x-access-token:{own}") if own else given
    return Remote(f"https://{host}{port}{parts.path}", "https", credential)


def _refusal(found: str) -> str:
    return (
        f"PINRAIL_REPO_URL: found {found}, allowed https://host/path, ssh://user@host/path, user@host:path or "
        "file:///path: correct it"
    )


@dataclass(frozen=True, slots=True)
class Git:
    """Git on one bare repository and the one remote that it belongs to."""

    directory: Path
    remote: Remote
    keep: Sequence[int] = ()  # descriptors that git inherits, such as a lock's

    def __call__(
        self,
        *arguments: str,
        seconds: float = LOCAL_SECONDS,
        stdin: bytes = b"",
        extra: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run ``git arguments`` and return its output. GitFailed with what it said; Retryable after ``seconds``."""
        return self.run(*arguments, seconds=seconds, stdin=stdin, extra=extra).raw

    def run(
        self,
        *arguments: str,
        seconds: float = LOCAL_SECONDS,
        stdin: bytes = b"",
        extra: Mapping[str, str] | None = None,
    ) -> shell.Output:
        """Like a call, and return what it said on standard error too."""
        seconds = at_most(seconds)
        try:
            output = shell.run(
                ["git", f"--git-dir={self.directory}", *arguments],
                environment={**self._environment(), **(extra or {})},
                timeout=seconds,
                stdin=stdin,
                keep=self.keep,
            )
        except Retryable as error:
            raise Retryable(f"git {arguments[0]}: {self.remote.url} took longer than {seconds:g} s") from error
        if output.status != 0:
            secrets = [self.remote.credential or "", *(self.remote.credential or "").split(":", 1)]
            said = Redactor(secret for secret in secrets if secret).line(output.stderr)
            said = explained(said, self.remote.url, credentials=self.remote.credential is not None)
            raise GitFailed(f"git {arguments[0]}: {said or f'ended with status {output.status}'}")
        return output

    def _environment(self) -> dict[str, str]:
        nobody = {
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_ALLOW_PROTOCOL": self.remote.scheme,
            "LC_ALL": "C",  # what git says is shown to people as it is
        }
        reach = shell.scrubbed(os.environ, *REACH)
        reach.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=20")
        return {**reach, **nobody, **_as_environment(self._config())}

    def _config(self) -> list[tuple[str, str]]:
        config = [
            ("core.hooksPath", os.devnull),
            ("core.fsmonitor", "false"),
            ("credential.helper", ""),
            ("http.followRedirects", "false"),  # git would send the token along, to whatever host is named
            ("protocol.ext.allow", "never"),
            ("fetch.recurseSubmodules", "false"),
            ("push.recurseSubmodules", "no"),
            ("gc.autoDetach", "false"),  # nothing outlives the command, so a lock without one is stale
            ("maintenance.autoDetach", "false"),
            ("init.defaultBranch", "main"),
            *(self.remote.signing_key.config if self.remote.signing_key else ()),
        ]
        if self.remote.credential is not None:
            origin = "/".join(self.remote.url.split("/", 3)[:3])
            encoded = base64.b64encode(self.remote.credential.encode()).decode()
            config.append((f"http.{origin}/.extraHeader", f"Authorization: Basic {encoded}"))
        return config


def _as_environment(config: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Git's way to be configured without a file or an argument."""
    variables = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables
