"""GitHub's webhooks: is it from GitHub, and does it concern us? No I/O of any kind happens here.

Signature: HMAC-SHA256 over the raw body, https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries.
The payload only says *that* something happened. What to fetch comes from the settings, and the branch head is the
truth, so nothing in a payload is used but to decide whether to look.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from receiver.core.delivery import Classification, DeliveryKind
from receiver.core.redact import plain
from receiver.intake.headers import Headers, only
from receiver.intake.strict_json import NotStrictJsonError, field, parse_object

SIGNATURE = b"x-hub-signature-256"
DELIVERY = b"x-github-delivery"
EVENT = b"x-github-event"

NOT_WATCHED = "which is not the watched repository"
PLANNED_AGAIN = frozenset({"opened", "reopened", "synchronize"})  # what happened to a pull request

_SIGNATURE = re.compile(rb"sha256=([0-9a-f]{64})")
_DELIVERY = re.compile(rb"[A-Za-z0-9-]{1,64}")
_EVENT = re.compile(rb"[a-z_]{1,64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Watched:
    """The branch that we follow. ``repository`` is ``owner/name``; None where the URL does not tell."""

    repository: str | None
    branch: str

    def is_in(self, repository: str) -> bool:
        """Whether it is this repository's branch; where the URL does not tell, any signed delivery is a hint."""
        return self.repository is None or repository.casefold() == self.repository.casefold()


def verify(secrets: Sequence[bytes], headers: Headers, body: bytes) -> bool:
    """Whether one of the secrets signed exactly these bytes, in exactly one well-formed header.

    Raises:
        ValueError: without secrets, or with an empty one, everybody could sign.
    """
    if not secrets or not all(secrets):
        raise ValueError("a webhook secret is required: unsigned means rejected")
    found = _SIGNATURE.fullmatch(only(headers, SIGNATURE) or b"")
    if found is None:
        return False
    digests = (hmac.new(secret, body, hashlib.sha256).hexdigest().encode() for secret in secrets)
    return any(hmac.compare_digest(digest, found[1]) for digest in digests)


def identify(headers: Headers) -> tuple[str, str] | None:
    """The delivery's id and event, or None where GitHub would not have sent it so."""
    delivery = _DELIVERY.fullmatch(only(headers, DELIVERY) or b"")
    event = _EVENT.fullmatch(only(headers, EVENT) or b"")
    return (delivery[0].decode(), event[0].decode()) if delivery and event else None


def parse(event: str, body: bytes, watched: Watched) -> Classification:
    """What a signed delivery means for the watched branch."""
    try:
        payload = parse_object(body)
        if event == "ping":
            return Classification(DeliveryKind.IGNORED, "ping: the webhook is set up")
        if event == "push":
            return _push(payload, watched)
        if event == "pull_request":
            return _pull_request(payload, watched)
    except NotStrictJsonError as error:
        return Classification(DeliveryKind.MALFORMED, plain(str(error)))
    return Classification(DeliveryKind.IGNORED, f"{event}: only pushes and pull requests are acted on")


def _push(payload: dict[str, Any], watched: Watched) -> Classification:
    repository = field(field(payload, "repository", dict), "full_name", str)
    ref = field(payload, "ref", str)
    deleted = field(payload, "deleted", bool) if "deleted" in payload else False
    if "commits" in payload:
        field(payload, "commits", list)
    if not watched.is_in(repository):
        return _of_another(f"push to {repository}", repository, watched)
    if ref != f"refs/heads/{watched.branch}":
        return _ignored(f"push to {ref}, which is not the watched branch")
    if deleted:
        return _ignored(f"{watched.branch} was deleted; what runs keeps running")
    after = payload.get("after")
    commit = f" to {after[:12]}" if isinstance(after, str) and _COMMIT.fullmatch(after) else ""
    return Classification(DeliveryKind.ACCEPTED, f"{watched.branch} moved{commit}")


def _pull_request(payload: dict[str, Any], watched: Watched) -> Classification:
    """Only a reason to ask GitHub what is open: the number is for the log, and nothing else of it is kept."""
    repository = field(field(payload, "repository", dict), "full_name", str)
    action, number = field(payload, "action", str), field(payload, "number", int)
    base = field(field(field(payload, "pull_request", dict), "base", dict), "ref", str)
    what = f"pull request {number} {action}"
    if not watched.is_in(repository):
        return _of_another(f"{what} in {repository}", repository, watched)
    if base != watched.branch:
        return _ignored(f"{what} into {base}, which is not the watched branch")
    retargeted = action == "edited" and "base" in field(payload, "changes", dict)
    if action not in PLANNED_AGAIN and not retargeted:
        return _ignored(f"{what}: its commits and its base stay")
    return Classification(DeliveryKind.ACCEPTED, plain(what)[:300])


def _of_another(what: str, repository: str, watched: Watched) -> Classification:
    warning = (
        f"GitHub delivers for {repository}, and PINRAIL_REPO_URL names {watched.repository}: if that was renamed or "
        f"moved, set PINRAIL_REPO_URL to the address of {repository}; if not, remove that repository's webhook"
    )
    return Classification(DeliveryKind.IGNORED, plain(f"{what}, {NOT_WATCHED}")[:300], plain(warning)[:500])


def _ignored(note: str) -> Classification:
    return Classification(DeliveryKind.IGNORED, plain(note)[:300])
