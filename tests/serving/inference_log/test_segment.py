"""A segment is read whole or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.inference_log.segment import Header, Record, SegmentInvalid, encode, joined, read

HEADER = Header(3, "sha256:00", [("age", "long")], {"rate": 2})
RECORD = Record(5, b"id", b"shop", "predict", 200, "", 900, None, 0, [[30]], ["leave"], [[0.25, 0.75]])
WHOLE = joined(HEADER, [encode(RECORD)] * 3)


def test_what_was_written_is_read() -> None:
    assert read(WHOLE) == (HEADER, [RECORD] * 3)


@given(st.integers(0, len(WHOLE) - 1))
def test_a_segment_that_ends_early_is_refused(length: int) -> None:
    with pytest.raises(SegmentInvalid):
        read(WHOLE[:length])


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(content: bytes) -> None:
    for text in (content, WHOLE[:28] + content, WHOLE + b"\0" + content):
        with pytest.raises(SegmentInvalid):
            read(text)
