"""The quick reader takes nothing that the slow one refuses, and reads what it takes the same."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.errors import InvalidRequestError
from serving.model.decoder import RowDecoder
from serving.model.model_dir import Column, ModelDir
from serving.model.schema import RequestSchema

TYPES = ("boolean", "integer", "long", "float", "double", "string")
COLUMNS = tuple(Column(f"{kind} {required}", kind, required=required) for kind in TYPES for required in (True, False))
NAMES = [column.name for column in COLUMNS]
QUICK = RowDecoder(COLUMNS, max_rows=3)


def _slow(columns: tuple[Column, ...] = COLUMNS) -> RequestSchema:
    schema = RequestSchema(ModelDir(Path("none"), columns, (), frozenset(), None, None), max_rows=3)
    schema._quick = None
    return schema


SLOW = _slow()

GOOD: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-(2**90), 2**90),
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**900), 2**900),
    "string": st.text(),
}
ANYTHING = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 2**31 - 1, 2**31, -(2**31) - 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**400])
    | st.sampled_from([-0.0, 1.0, 3.4028234663852886e38, 3.4028235e38, 1e39, 1.7976931348623157e308, 5e-324])
    | st.floats()
    | st.text(max_size=3)
    | st.just([])
    | st.just({})
)


def _value(column: Column, share_of_anything: st.SearchStrategy[bool]) -> st.SearchStrategy[Any]:
    good = GOOD[column.type] if column.required else st.none() | GOOD[column.type]
    return share_of_anything.flatmap(lambda malformed: ANYTHING if malformed else good)


@st.composite
def _bodies(draw: st.DrawFn) -> bytes:
    malformed = st.sampled_from([False] * 40 + [True]) if draw(st.booleans()) else st.just(value=False)

    def record() -> dict[str, Any]:
        names = [name for name in draw(st.permutations(NAMES)) if draw(malformed) is False]
        by_name = {column.name: column for column in COLUMNS}
        values = {name: draw(_value(by_name[name], malformed)) for name in names}
        return values if not draw(malformed) else {**values, draw(st.text(max_size=2)): 1}

    def row() -> list[Any]:
        return [draw(_value(column, malformed)) for column in COLUMNS if draw(malformed) is False]

    count = draw(st.integers(0, 4))
    form = draw(st.sampled_from(["record", "records", "features", "other"]))
    if form == "record":
        said: Any = record()
    elif form == "records":
        said = [record() for _ in range(count)]
    elif form == "features":
        said = {"features": [row() for _ in range(count)], **({} if not draw(malformed) else {"more": 1})}
    else:
        said = draw(ANYTHING)
    text = json.dumps(said, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    return text.encode("utf-8", "surrogatepass")


def _read(reader: Any, body: bytes) -> list[list[Any]] | None:
    try:
        return [list(row) for row in reader.decode(body)]
    except (ValueError, InvalidRequestError):
        return None


def _exact(rows: list[list[Any]] | None) -> Any:
    """Rows such that 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    return rows and [[(type(v), v, math.copysign(1, v) if isinstance(v, float) else 1) for v in row] for row in rows]


ROW = [True, None, 1, None, 1, None, 1.5, None, 1.5, None, "a", None]


@given(_bodies())
@example(b"[" * 100_000)
@example(b'{"features":' + b"[" * 100_000)
@example(b"\xef\xbb\xbf[]")
@example(b" " + json.dumps({"features": [ROW]}).encode())
@example(b'{"features":[],"features":[' + json.dumps(ROW).encode() + b"]}")
@example(json.dumps({"features": [[*ROW[:10], "\ud800", None]]}).encode())
def test_what_the_quick_reader_takes_the_slow_one_takes_and_reads_the_same(body: bytes) -> None:
    quick = _read(QUICK, body)
    if quick is not None:
        assert _exact(quick) == _exact(_read(SLOW, body))


@given(st.data())
def test_ordinary_good_requests_are_read_quickly(data: st.DataObject) -> None:
    values = {column.name: data.draw(GOOD[column.type]) for column in COLUMNS}
    row = list(values.values())
    for said in (values, [values] * 3, {"features": [row] * 3}):
        body = json.dumps(said).encode()
        assert _exact(_read(QUICK, body)) == _exact(_read(SLOW, body))
        assert _read(QUICK, body) is not None


@pytest.mark.parametrize(
    ("columns", "body"),
    [
        ((Column("when", "datetime"),), b'{"when": "2024-01-01T00:00:00"}'),
        ((Column("raw", "binary"),), b'{"raw": "AAAA"}'),
        ((Column('a "quoted" name', "double"),), b'{"a \\"quoted\\" name": 1.5}'),
    ],
)
def test_a_signature_that_the_quick_reader_does_not_know_is_read_all_the_same(
    columns: tuple[Column, ...], body: bytes
) -> None:
    schema = RequestSchema(ModelDir(Path("none"), columns, (), frozenset(), None, None))
    assert [list(row) for row in schema.decode(body)] == [list(row) for row in _slow(columns).decode(body)]


def test_a_column_named_features_is_distinguished_from_a_list_of_rows() -> None:
    columns = (Column("features", "double"),)
    schema = RequestSchema(ModelDir(Path("none"), columns, (), frozenset(), None, None))
    assert [list(row) for row in schema.decode(b'{"features": 1.5}')] == [[1.5]]
    assert [list(row) for row in schema.decode(b'{"features": [[1.5], [2.5]]}')] == [[1.5], [2.5]]


def test_a_good_request_is_not_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = RequestSchema(ModelDir(Path("none"), COLUMNS, (), frozenset(), None, None))
    monkeypatch.setattr("serving.model.schema.parse_json", lambda _: pytest.fail("it was read slowly"))
    assert [list(row) for row in schema.decode(json.dumps({"features": [ROW]}).encode())] == [ROW]


SPACE = st.sampled_from([b"", b" ", b"\n\t", b"\r"])
FIELDS = {
    "number": st.integers(-9, 9).map(lambda number: b"%d" % number),
    "text": st.text(alphabet='a":\\{},', max_size=5).map(lambda text: json.dumps(text).encode()),
    "maybe": st.sampled_from([b"null", b"1.5", b'":"']),
}


@given(st.data())
def test_a_key_that_appears_twice_is_refused_whatever_surrounds_it(data: st.DataObject) -> None:
    columns = (Column("number", "long"), Column("text", "string"), Column("maybe", "double", required=False))
    schema = RequestSchema(ModelDir(Path("none"), columns, (), frozenset(), None, None))
    records, repeats = [], False
    for _ in range(data.draw(st.integers(1, 3))):
        names = ["number", "text", *data.draw(st.lists(st.sampled_from(list(FIELDS)), max_size=3))]
        repeats |= len(set(names)) < len(names)
        fields = [
            b'"%b"%b:%b%b' % (name.encode(), data.draw(SPACE), data.draw(SPACE), data.draw(FIELDS[name]))
            for name in data.draw(st.permutations(names))
        ]
        records.append(b"{%b}" % b",".join(fields))
    body = b"[%b]" % b",".join(records)
    try:
        rows, mistakes = schema.decode(body), set()
    except InvalidRequestError as error:
        rows, mistakes = [], {detail.type for detail in error.details}
    assert ("repeated_key" in mistakes) == repeats
    if not mistakes:
        assert [list(row) for row in rows] == [
            [record["number"], record["text"], record.get("maybe")] for record in json.loads(body)
        ]


@pytest.mark.parametrize("text", ["12:30", "https://example.invalid/a", "a: b"])
def test_a_text_with_colons_is_read_quickly(text: str) -> None:
    values = dict(zip(NAMES, ROW, strict=True)) | {"string True": text}
    assert QUICK.decode(json.dumps(values).encode()) == [tuple(values.values())]
