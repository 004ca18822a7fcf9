"""Compares this machine's clock with that of a server."""

import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import httpx

from receiver.cli.doctor.check import Check

SKEW_SECONDS = 60.0  # MLflow's webhooks are accepted up to 300 s; soaks and `live --at` need the right time
HTTP_SECONDS = 5.0


def clock(urls: Sequence[str]) -> Check:
    """Compare with the first URL that answers, whatever its status."""
    for url in urls:
        try:
            said = httpx.get(url, timeout=HTTP_SECONDS).headers["date"]
            skew = time.time() - parsedate_to_datetime(said).timestamp()
        except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError):
            continue
        found = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {httpx.URL(url).host}"
        todo = "" if abs(skew) <= SKEW_SECONDS else "enable NTP on this machine"
        return Check("clock", not todo, found, todo)
    return Check("clock", ok=True, found="not compared: no server answered")
