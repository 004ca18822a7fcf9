"""Who asks, and under which id: read from a request's headers in one pass."""

import itertools
import re
import secrets
from collections.abc import Iterable

REQUEST_ID = b"x-request-id"
USER_AGENT = b"user-agent"
PRINTABLE = re.compile(rb"[\x21-\x7e]{1,128}")


class Callers:
    """Reads the ids that requests bring, and makes one for each that brings none."""

    def __init__(self, header: bytes) -> None:
        """``header``: names the caller, in lower case; the user agent does where it is missing."""
        self._header = header
        self._prefix = secrets.token_hex(8).encode()
        self._numbers = itertools.count(1)

    def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
        """A request's id and caller; an id that is too long or not printable is replaced."""
        request_id = caller = agent = b""
        for name, value in headers:
            if name == REQUEST_ID:
                request_id = value
            elif name == self._header:
                caller = value
            elif name == USER_AGENT:
                agent = value
        if not PRINTABLE.fullmatch(request_id):
            request_id = b"%b-%x" % (self._prefix, next(self._numbers))
        return request_id, caller or agent
