"""Headers as ASGI hands them over: lower-case names and raw bytes, with duplicates still visible."""

from collections.abc import Iterable

Headers = Iterable[tuple[bytes, bytes]]


def only(headers: Headers, name: bytes) -> bytes | None:
    """The value of a header that was sent exactly once; None where it is missing or was sent twice."""
    values = [value for key, value in headers if key == name]
    return values[0] if len(values) == 1 else None
