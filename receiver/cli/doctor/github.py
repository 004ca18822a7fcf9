"""GitHub: the token, the webhook and its last delivery, and the tunnel."""

import httpx

from receiver.adapters.github.hook_record import read_hook
from receiver.adapters.github.hooks import Hooks
from receiver.adapters.sqlite.queries import StateQueries
from receiver.adapters.sqlite.state_lock import holder
from receiver.cli.doctor.check import Check
from receiver.daemon.ingress import PATH
from receiver.github_wiring import build_github
from receiver.intake.github import NOT_WATCHED
from receiver.settings import Settings
from receiver.wiring import open_database

TUNNEL_SECONDS = 10.0
RECENT = 20  # deliveries
RIGHTS = "contents, pull requests, commit statuses, deployments and webhooks: read and write"


def token(settings: Settings) -> Check:
    """The token has the rights that Pinrail needs."""
    name, client = "GitHub token", build_github(settings)
    if client is None:
        todo = f"set GITHUB_TOKEN for pull requests, statuses and the webhook ({RIGHTS})"
        return Check(name, ok=True, found="none: `pinrail promote` prints a link instead", todo=todo)
    may = client.get("/repos/{owner}/{repo}").get("permissions", {})
    rights = [right for right in ("admin", "push", "pull") if may.get(right)]
    found = f"its user has {', '.join(rights) or 'no rights'} on {settings.repository}"
    if not may.get("push"):
        return Check(name, ok=False, found=found, todo=f"use a token with write access ({RIGHTS})")
    todo = "" if may.get("admin") else "an administrator's token also registers the webhook"
    return Check(name, ok=True, found=found, todo=todo)


def webhook(settings: Settings) -> Check:
    """The repository has the webhook, and its last delivery succeeded."""
    name, client = "webhook", build_github(settings)
    polling = f"polling finds commits every {settings.pinrail_poll_seconds:g} s"
    if client is None:
        return Check(name, ok=True, found=f"not checked without GITHUB_TOKEN; {polling}")
    record, hooks = read_hook(settings.pinrail_state_dir), Hooks(client)
    found = hooks.find(record.hook if record and record.repository == settings.repository else None, PATH)
    if found is None:
        expected = settings.ngrok_authtoken is not None and holder(settings.pinrail_state_dir) is not None
        todo = "the receiver's log says why" if expected else "`pinrail up` registers it with its tunnel"
        return Check(name, not expected, f"none on {settings.repository}; {polling}", todo)
    what = f"{found.id} delivers to {found.url}"
    if not found.active:
        return Check(name, ok=False, found=f"{what}, but is disabled", todo="enable it in GitHub's settings")
    last = hooks.last_delivery(found.id)
    if last is None:
        return Check(name, ok=True, found=f"{what}; no delivery yet")
    said = f"{what}; the last delivery, {last.event} at {last.delivered_at}, ended in {last.code} {last.status}"
    if httpx.codes.is_success(last.code):
        return Check(name, ok=True, found=said)
    cause = "see the tunnel's line"
    if last.code == httpx.codes.UNAUTHORIZED:
        cause = "set PINRAIL_WEBHOOK_SECRET in the webhook too, or restart the receiver, which sets it"
    return Check(name, ok=False, found=said, todo=f"{cause}, then redeliver it in GitHub's settings; {polling}")


def deliveries(settings: Settings) -> Check:
    """GitHub delivers for the watched repository, not only for others: it keeps delivering after a rename."""
    rows = StateQueries(open_database(settings)).deliveries(RECENT)
    notes = [row.note for row in rows if row.sender == "github" and row.event != "ping"]
    if notes and all(NOT_WATCHED in note for note in notes):
        todo = "if the repository was renamed or moved, set PINRAIL_REPO_URL to its new address"
        return Check("deliveries", ok=False, found=f"all recent ones are ignored, such as: {notes[0]}", todo=todo)
    return Check("deliveries", ok=True, found=f"the newest: {notes[0]}" if notes else "none yet")


def tunnel(settings: Settings) -> Check:
    """GitHub's deliveries arrive: this receiver refuses an unsigned request that is sent to the public URL."""
    name, record = "tunnel", read_hook(settings.pinrail_state_dir)
    if settings.ngrok_authtoken is None:
        todo = "set NGROK_AUTHTOKEN to be notified of a push at once, or use your own ingress"
        return Check(name, ok=True, found="none: polling finds commits", todo=todo)
    if holder(settings.pinrail_state_dir) is None:
        return Check(name, ok=True, found="closed: no receiver runs", todo="`pinrail up` opens it")
    if record is None:
        return Check(name, ok=True, found="its URL is unknown: no webhook was registered")
    try:
        answered = httpx.post(record.url, content=b"{}", timeout=TUNNEL_SECONDS)
    except httpx.HTTPError as error:
        said = f"{record.url} cannot be reached: {error}"
        return Check(name, ok=False, found=said, todo="the receiver's log says why; it keeps trying")
    if answered.status_code in {401, 403}:
        return Check(name, ok=True, found=f"{record.url} leads here")
    said = f"{record.url} answers {answered.status_code} to an unsigned request; expected 401"
    return Check(name, ok=False, found=said, todo="restart the receiver; its log has ngrok's messages")
