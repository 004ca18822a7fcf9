"""Tells people, through apprise, at the URLs of ``PINRAIL_NOTIFY_URLS``. They hold secrets: no log has them."""

import hashlib
import logging
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from receiver.adapters.sqlite.outbox import Sender
from receiver.adapters.time_limit import at_most
from receiver.core.errors import Rejected, Retryable
from receiver.core.messages import NOTIFY
from receiver.core.redact import Redactor
from serving.model.deadline import begin

TITLE_CHARACTERS = 200
TEXT_CHARACTERS = 4000
# Apprise gives up on a server that says nothing for 4 s, and waits for ever on one that says a byte now and then.
NOTIFY_SECONDS = 60.0
UNENDED = 4  # calls of one address that go on after that


def notifiers(urls: Sequence[str], redact: Redactor) -> dict[str, Sender]:
    """A sender per address, for :meth:`Outbox.deliver_due`, named by a digest that reveals nothing of the URL.

    Messages are ``{"title": ..., "text": ...}``, sent without what ``redact`` masks. Without addresses
    nothing is sent, and every message counts as delivered.

    Raises:
        Rejected: an entry is no URL that apprise can notify; it is named by its place, since it holds secrets.
    """
    if not urls:
        return {NOTIFY: lambda _: None}
    import apprise

    # Apprise names the URL in what it logs about a failure; we say ourselves what failed.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    senders: dict[str, Sender] = {}
    for place, url in enumerate(urls, 1):
        # A redirect would take headers that the URL asks for, such as a token, to another host.
        service = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False))
        if not service.add(url):
            raise Rejected(
                f"PINRAIL_NOTIFY_URLS: entry {place} of {len(urls)} is no URL that apprise can notify. "
                "See https://appriseit.com/services/ for how they are written."
            )
        senders[f"{NOTIFY}/{hashlib.sha256(url.encode()).hexdigest()[:12]}"] = _sender(service, place, redact)
    return senders


def _sender(service: Any, place: int, redact: Redactor) -> Sender:
    unended = threading.BoundedSemaphore(UNENDED)

    def send(message: Mapping[str, Any]) -> None:
        title = redact.line(str(message["title"]))[:TITLE_CHARACTERS]
        text = redact.lines(str(message["text"]))[:TEXT_CHARACTERS]
        entry = f"entry {place} of PINRAIL_NOTIFY_URLS"
        if not unended.acquire(blocking=False):
            raise Retryable(f"{entry} has not answered {UNENDED} earlier messages")
        call = begin(partial(service.notify, title=title, body=text or title, body_format="text"), "notifier")
        call.add_done_callback(lambda _: unended.release())
        try:
            taken = call.result(at_most(NOTIFY_SECONDS))
        except TimeoutError as error:
            raise Retryable(f"{entry} did not answer within {NOTIFY_SECONDS:g} s") from error
        if not taken:
            raise Retryable(f"{entry} did not take the message")

    return send
