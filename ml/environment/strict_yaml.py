"""Strict YAML: plain data, one meaning per file, and a line number for every value.

Works on PyYAML's events, so tags, anchors and merge keys have no effect. What YAML 1.1 would convert (``yes``,
``010``, ``12:30``) stays text, for the schema to refuse. Pure: bytes in, data and problems out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

MAX_BYTES = 64 * 1024
MAX_DEPTH = 12
MAX_PROBLEMS = 50  # of a file, in a message: whoever opens a pull request may write such a file
MAX_DIGITS = 20  # longer than any valid number; Python refuses to convert about 4,300 digits

INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,4})?")
# Characters that end a line in YAML 1.1 but not in a diff, or that change the displayed order: a reviewer could see a
# comment where there is a field.
DECEPTIVE = re.compile(r"\r(?!\n)|[\x85\u2028\u2029\u202a-\u202e\u2066-\u2069]")
WORDS: Mapping[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}

# libyaml where PyYAML was built with it: the same events, some fifteen times as fast.
Events = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """The position of a value in the text, and its source text."""

    line: int  # from 1
    start: int  # character offsets into the decoded text
    end: int
    written: str | None = None  # a scalar's source text


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong: what was found, where, what is allowed and what to do."""

    line: int
    path: Path
    found: str
    allowed: str
    advice: str

    def __str__(self) -> str:
        field_name = ".".join(show_key(part) for part in self.path) or "file"
        return f"{self.line}: {field_name}: found {self.found}, allowed {self.allowed}: {self.advice}"


@dataclass(slots=True)
class Document:
    """What was read. ``value`` is None where the file could not be read to its end."""

    value: dict[str, Any] | None = None
    spans: dict[Path, Span] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of the value at ``path``, or of the nearest value around it."""
        while path and path not in self.spans:
            path = path[:-1]
        return self.spans[path].line if path in self.spans else 1


class _Unreadable(Exception):  # noqa: N818 - never leaves this file
    """The file cannot be read any further."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


def show(text: str) -> str:
    """Quote text from outside for a message: short, on one line, and harmless in a terminal."""
    return ascii(text) if len(text) <= 60 else f"{text[:57]!a}... ({len(text)} characters)"  # noqa: PLR2004


def show_key(part: str | int) -> str:
    """An ordinary word unchanged, any other key quoted."""
    return str(part) if re.fullmatch(r"[\w.-]{1,64}", str(part), re.ASCII) else show(str(part))


def _decode(raw: bytes) -> str:
    if len(raw) > MAX_BYTES:
        raise _Unreadable(Problem(1, (), f"{len(raw)} bytes", f"at most {MAX_BYTES}", "split it up"))
    encoding = "plain UTF-8"
    advice = "save it as UTF-8 without a byte order mark"
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw:
        raise _Unreadable(Problem(1, (), "UTF-16 or binary data", encoding, advice))
    if raw.startswith(b"\xef\xbb\xbf"):
        raise _Unreadable(Problem(1, (), "a byte order mark", encoding, advice))
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{raw[error.start]:02x}"
        raise _Unreadable(Problem(line, (), found, encoding, advice)) from error
    if deceptive := DECEPTIVE.search(text):
        line = text.count("\n", 0, deceptive.start()) + 1
        found, allowed = f"the character U+{ord(deceptive[0]):04X}", "text that displays as it is read"
        raise _Unreadable(Problem(line, (), found, allowed, "remove it, and end lines with a newline"))
    return text


def read_yaml(raw: bytes) -> Document:
    """Read one mapping of plain data, and record every syntax problem."""
    document = Document()
    try:
        document.value = _Reader(_decode(raw), document).read()
    except _Unreadable as error:
        document.problems.append(error.problem)
    except yaml.YAMLError as error:
        document.problems.append(_syntax(error))
    except (ValueError, OverflowError) as error:  # not checked by PyYAML: \U99999999, a version of 5,000 digits
        document.problems.append(Problem(1, (), f"broken YAML ({error})", "well-formed YAML", "correct it"))
    return document


def _syntax(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or "no YAML"
    found = f"broken YAML ({said})"
    return Problem(mark.line + 1 if mark else 1, (), found, "well-formed YAML", "correct this line or the one before")


class _Reader:
    """Turns one text's events into data, and records problems and positions in the document."""

    def __init__(self, text: str, document: Document) -> None:
        self._text = text
        self._events = Events(text)
        self._document = document

    def read(self) -> dict[str, Any]:
        self._next()  # the stream's start
        start = self._next()
        if isinstance(start, yaml.StreamEndEvent):
            raise _Unreadable(Problem(1, (), "an empty file", "a mapping", "start from another environment's file"))
        if getattr(start, "version", None) or getattr(start, "tags", None):
            self._note(start, (), "a % directive", "plain YAML", "remove the line")
        event = self._next()
        if not isinstance(event, yaml.MappingStartEvent):
            found = "a list" if isinstance(event, yaml.SequenceStartEvent) else "a single value"
            raise _Unreadable(Problem(_line(event), (), found, "a mapping", "write `field: value` lines"))
        value: dict[str, Any] = self._value(event, ())
        self._next()  # the document's end
        end = self._next()
        if not isinstance(end, yaml.StreamEndEvent):
            raise _Unreadable(Problem(_line(end), (), "a second document", "one per file", "remove the `---`"))
        return value

    def _next(self) -> Any:
        return self._events.get_event()

    def _value(self, event: Any, path: Path) -> Any:
        if len(path) > MAX_DEPTH:
            raise _Unreadable(
                Problem(_line(event), path[:3], "very deep nesting", f"{MAX_DEPTH} levels", "flatten it")
            )
        if isinstance(event, yaml.AliasEvent):
            self._note(event, path, f"the alias *{event.anchor}", "plain values", "write the value out")
            return None
        if getattr(event, "anchor", None):
            self._note(event, path, f"the anchor &{event.anchor}", "plain values", "remove it")
        if getattr(event, "tag", None):
            self._note(event, path, f"the tag {show(event.tag)}", "plain values", "remove it")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(event, path)
        return self._scalar(event, path)

    def _mapping(self, start: Any, path: Path) -> dict[str, Any]:
        self._record_span(start, path)
        mapping: dict[str, Any] = {}
        first: dict[str, int] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _Unreadable(Problem(_line(event), path, "a key that is not a word", "words", "name the field"))
            key = event.value
            if event.anchor or event.tag:
                self._note(event, (*path, key), "an anchor or a tag on a key", "plain words", "remove it")
            value = self._value(self._next(), (*path, key))
            if isinstance(value, dict | list):  # a missing field is reported at its parent's name
                span = self._document.spans[*path, key]
                self._document.spans[*path, key] = replace(span, line=min(span.line, _line(event)))
            if key == "<<":
                self._note(event, (*path, key), "a merge key", "plain fields", "write the fields out")
            elif key in mapping:
                found = f"a second {show_key(key)!r} (the first is on line {first[key]})"
                self._note(event, (*path, key), found, "each field once", "remove one of them")
            else:
                mapping[key], first[key] = value, _line(event)
        return mapping

    def _sequence(self, start: Any, path: Path) -> list[Any]:
        self._record_span(start, path)
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _scalar(self, event: Any, path: Path) -> Any:
        self._record_span(event, path)
        text: str = event.value
        if not event.implicit[0]:  # quoted: text
            return text
        if text in WORDS:
            return WORDS[text]
        if len(text) <= MAX_DIGITS and INTEGER.fullmatch(text):
            return int(text)
        if len(text) <= MAX_DIGITS and DECIMAL.fullmatch(text):
            return float(text)
        return text

    def _record_span(self, event: Any, path: Path) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        written = self._text[start:end] if isinstance(event, yaml.ScalarEvent) else None
        self._document.spans.setdefault(path, Span(_line(event), start, end, written))

    def _note(self, event: Any, path: Path, *words: str) -> None:
        found, allowed, advice = words
        problem = Problem(_line(event), path, found, allowed, advice)
        if len(self._document.problems) >= MAX_PROBLEMS:
            raise _Unreadable(problem)
        self._document.problems.append(problem)


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1
