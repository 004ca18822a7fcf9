"""The format of a segment: one file with the records of a few seconds. Pure.

A magic line, the length of the header in four bytes, and in msgpack a :class:`Header` and a list of :class:`Record`.
A segment is written whole under another name, synchronised and renamed, so that its name stands for complete content;
a reader refuses it all where any of it is not as described.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

MAGIC = b"pinrail inference log 1\n"
SUFFIX = ".segment"
LENGTH_BYTES = 4
HASHED = "hash"  # the type of a column whose values are hashes


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all records of a segment have in common."""

    version: int  # of the model
    digest: str
    columns: list[tuple[str, str]]  # name and type, in the order of the rows; types are the signature's, or HASHED
    dropped: dict[str, int]  # requests that are not recorded, by reason, since the server's start


class Record(msgspec.Struct, array_like=True, frozen=True):
    """Some rows of one request, and what was answered."""

    time: int  # microseconds since the epoch, when it was answered
    request_id: bytes
    caller: bytes
    protocol: str
    status: int
    reason: str  # why it was refused; empty where it was answered
    microseconds: int  # from its head to its answer
    params: str | None  # JSON
    start: int  # number of the first row in the request
    rows: list[Sequence[Any]] | None  # None: the request was not understood
    labels: list[Any] | None  # None: there was no answer
    probabilities: list[list[float]] | None


class SegmentInvalid(Exception):  # noqa: N818 - named for what it is
    """The bytes are no complete segment."""


_header = msgspec.msgpack.Decoder(Header)
_records = msgspec.msgpack.Decoder(list[Record])
# What a model answers may hold more than msgpack has: as text.
encode = msgspec.msgpack.Encoder(enc_hook=str).encode


def joined(header: Header, records: Sequence[bytes]) -> bytes:
    """A whole segment of records that :func:`encode` has encoded."""
    head = msgspec.msgpack.encode(header)
    array = b"\xdd" + len(records).to_bytes(4, "big")  # msgpack's array 32
    return b"".join((MAGIC, len(head).to_bytes(LENGTH_BYTES, "little"), head, array, *records))


def read(content: bytes) -> tuple[Header, Sequence[Record]]:
    """A whole segment. SegmentInvalid: any of it is not as described."""
    start = len(MAGIC) + LENGTH_BYTES
    if not content.startswith(MAGIC) or len(content) < start:
        raise SegmentInvalid("it does not begin like a segment")
    end = start + int.from_bytes(content[len(MAGIC) : start], "little")
    try:
        return _header.decode(content[start:end]), _records.decode(content[end:])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SegmentInvalid(f"it cannot be read: {error}") from error
