"""This machine: git, the state directory, the receiver itself, and the ports."""

import os
import shutil
import tempfile
from pathlib import Path

import httpx

from ml.evidence_key import OWN_KEY
from ml.packages.store import PackageStore
from receiver.adapters import shell
from receiver.adapters.addresses import listen_on_trial, url_host
from receiver.adapters.git.command import Git, Remote
from receiver.adapters.git.commits import try_to_sign
from receiver.adapters.git.signing import SigningKey
from receiver.adapters.sqlite.state_lock import holder, make_private
from receiver.cli.doctor.check import Check
from receiver.core.state import Slot
from receiver.ports import Target
from receiver.settings import Settings
from receiver.targets.process.packages import PACKAGES
from receiver.wiring import MIRROR, PROPOSALS, open_database, target_name, why_unconfined
from serving.model.digest import bytes_below

FREE_BYTES = 1 << 30  # a model or two, and the journal
HTTP_SECONDS = 5.0
WILDCARDS = {"0.0.0.0": "IPv4", "::": "IPv6"}  # noqa: S104 - compared, not bound


def git() -> Check:
    """Git is installed."""
    output = shell.run(["git", "--version"], environment=shell.scrubbed(os.environ), timeout=10)
    if output.status != 0:
        return Check("git", ok=False, found=output.stderr.strip(), todo="install git")
    return Check("git", ok=True, found=output.stdout.strip())


def state_directory(settings: Settings) -> Check:
    """The state directory is private, can be written to, and has free space."""
    name, state = "state directory", settings.pinrail_state_dir
    try:
        make_private(state)
        with tempfile.TemporaryFile(dir=state):
            pass
        free = shutil.disk_usage(state).free
    except OSError as error:
        todo = "make it writable for this user, or set PINRAIL_STATE_DIR"
        return Check(name, ok=False, found=f"{state}: {error.strerror}", todo=todo)
    room = f"{state}, {free / 1e9:.1f} GB free; {_sizes(state)}"
    todo = "" if free >= FREE_BYTES else f"free {FREE_BYTES / 1e9:.0f} GB there: models and the journal need it"
    return Check(name, not todo, room, todo)


def _sizes(state: Path) -> str:
    """What in the state directory grows, in MB."""
    parts = {"cache": ["cache"], "git mirrors": [MIRROR, PROPOSALS], "logs": ["logs"]}
    sizes = {what: sum(bytes_below(state / name) for name in names) for what, names in parts.items()}
    sizes["packages of models"] = PackageStore(state / PACKAGES).bytes_used()
    sizes["state file"] = sum(path.stat().st_size for path in state.glob("pinrail.db*"))
    return ", ".join(f"{what} {size / 1e6:.0f} MB" for what, size in sizes.items())


def state_file(settings: Settings) -> Check:
    """The state file can be opened: it is a Pinrail state file with a known schema."""
    database = open_database(settings)
    database.close()
    return Check("state file", ok=True, found=f"{database.path} has this Pinrail's schema")


def signing_key(key: SigningKey) -> Check:
    """The key signs a commit, without anybody to type a passphrase."""
    with tempfile.TemporaryDirectory(prefix="pinrail-doctor-") as directory:
        try_to_sign(Git(Path(directory) / "repository.git", Remote("", "file", signing_key=key)))
    return Check("signing key", ok=True, found=f"{key.name} signs commits")


def isolation(settings: Settings) -> Check:
    """What a model that serves may do. Both are ok: `policy: {isolation: required}` refuses the one."""
    if target_name(settings) == "compose":
        return Check("isolation", ok=True, found="models serve in containers, with fewer rights than this user")
    why = why_unconfined(settings)
    if not why:
        return Check("isolation", ok=True, found="a model that serves is confined to its own files")
    found = f"a model that serves has the rights of this user: {why}"
    return Check("isolation", ok=True, found=found, todo="use compose for models whose authors you do not trust")


def evidence_key(settings: Settings) -> Check:
    """The key that evidence is signed with can be used, and is readable for its owner only."""
    name, file = "evidence key", settings.pinrail_state_dir / OWN_KEY
    if settings.known_evidence_key is None:
        return Check(name, ok=True, found="not made yet", todo="`pinrail up` makes it")
    public = settings.evidence_key.public
    if settings.pinrail_evidence_key is None and file.stat().st_mode & 0o077:
        return Check(name, ok=False, found=f"{file} is open to other users", todo=f"chmod 600 {file}, and renew it")
    return Check(name, ok=True, found=f"{public} signs this receiver's evidence")


def receiver(settings: Settings) -> Check:
    """Whether a receiver runs on this state directory. Both are ok: one before ``pinrail up``, one after."""
    process = holder(settings.pinrail_state_dir)
    if process is None:
        return Check("receiver", ok=True, found="none runs on this state directory", todo="`pinrail up` starts it")
    return Check("receiver", ok=True, found=f"one runs: process {process}")


def listener_port(settings: Settings, which: str) -> Check:
    """One of the receiver's two ports is free or used by this receiver."""
    public = which == "public"
    port = settings.pinrail_public_port if public else settings.pinrail_admin_port
    name, setting = f"port {port}", f"PINRAIL_{which.upper()}_PORT"
    if _is_free("127.0.0.1", port):
        return Check(name, ok=True, found=f"free, for the {which} listener")
    path, expected = ("/webhooks/github", 405) if public else ("/healthz", 200)
    running = holder(settings.pinrail_state_dir) is not None
    if running and _status(f"http://127.0.0.1:{port}{path}") == expected:
        return Check(name, ok=True, found=f"our receiver's {which} listener")
    return Check(name, ok=False, found="another program uses it", todo=f"end that program, or set {setting}")


def address(settings: Settings) -> Check:
    """Model servers can listen on PINRAIL_HOST, and who reaches them there."""
    host = settings.pinrail_host
    try:
        listen_on_trial(host, 0)
    except OSError as error:
        found = f"PINRAIL_HOST={host} cannot be listened on: {error.strerror}"
        return Check("address", ok=False, found=found, todo="set it to an address of this machine, or to 127.0.0.1")
    found, todo = f"model servers listen on {host}", ""
    if host in WILDCARDS:
        found += f", on every {WILDCARDS[host]} address of this machine, and on no other"
        todo = "they ask nobody for a password: let a firewall or a proxy say who may reach them"
    return Check("address", ok=True, found=found, todo=todo)


def model_port(host: str, slot: Slot, port: int, target: Target) -> Check:
    """A pin's port is free or used by that pin's model server, which belongs to this state directory."""
    name = f"port {port}"
    if _is_free(host, port):
        return Check(name, ok=True, found=f"free, for {slot}")
    try:
        health = httpx.get(f"http://{url_host(host)}:{port}/health", timeout=HTTP_SECONDS).json()
        if (health["environment"], health["model"]) == (slot.environment, slot.model):
            found = f"serves {slot} v{health['version']}"
            if any((server.spec.slot, server.spec.port) == (slot, port) for server in target.observe()):
                return Check(name, ok=True, found=found)
            todo = f"end it, because the receiver starts its own: `ss -ltnp 'sport = :{port}'` names its process"
            return Check(name, ok=False, found=f"{found}, from another or a lost state directory", todo=todo)
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        pass
    todo = f"end that program, or give {slot.model} another port in environments/{slot.environment}.yaml"
    return Check(name, ok=False, found=f"another program uses it, not {slot}", todo=todo)


def _is_free(host: str, port: int) -> bool:
    try:
        listen_on_trial(host, port)
    except OSError:
        return False
    return True


def _status(url: str) -> int | None:
    try:
        return httpx.get(url, timeout=HTTP_SECONDS).status_code
    except httpx.HTTPError:
        return None
