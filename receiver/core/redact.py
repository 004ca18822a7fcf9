"""Text that is safe to show: without secrets, and without characters that act on a terminal or a log. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, TypeVar, cast
from urllib.parse import quote

T = TypeVar("T")

MASK = "***"
SHORTEST_SECRET = 4  # masking shorter ones would blank out ordinary words and hide nothing

# Escape sequences as a whole, so that no "[31m" is left standing: OSC up to its end, CSI, and two-character ones.
_ESCAPES = re.compile(r"\x1b\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -~]")
# C0, DEL and C1; line and paragraph separators; characters that reorder text or are invisible; half a character.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
# What a CI runner that shows our output would obey at the start of a line ("::") or anywhere in it ("##[").
_COMMAND_LINE = re.compile(r"^([^\S\n]*):(?=:)", re.MULTILINE)

_USERINFO = re.compile(r"://[^/\s?#]+@")
_PARAMETER = re.compile(r"(?i)([?&](?:access_token|api_key|key|password|secret|sig|signature|token)=)[^&\s#]+")
_AUTHORIZATION = re.compile(r"(?i)\b(basic|bearer|token) +[A-Za-z0-9+/=._~-]{16,}")
_GITHUB_TOKEN = re.compile(r"gh[a-z]_[A-Za-z0-9_.-]{16,}|github_pat_[A-Za-z0-9_]{16,}")


def plain(text: str) -> str:
    """One line of ordinary characters: nothing in it moves a cursor, reorders text or commands a CI runner."""
    return " ".join(plain_lines(text).split())


def plain_lines(text: str) -> str:
    """Like :func:`plain`, but lines and indentation stay."""
    text = _UNPRINTABLE.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    return _COMMAND_LINE.sub(r"\1: ", text).replace("##[", "# #[")


class Redactor:
    """Masks the secrets that it was given, and what looks like one: URL credentials, GitHub tokens, authorization."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in (secret, plain(secret), quote(secret, safe=""))}
        known = sorted((form for form in forms if len(form) >= SHORTEST_SECRET), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        """The text with every secret replaced by ``***``; the rest of a URL stays readable."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        text = _USERINFO.sub(f"://{MASK}@", text)
        text = _PARAMETER.sub(rf"\g<1>{MASK}", text)
        text = _AUTHORIZATION.sub(rf"\g<1> {MASK}", text)
        return _GITHUB_TOKEN.sub(MASK, text)

    def lines(self, text: str) -> str:
        """Plain lines without secrets, also where control characters were put inside a secret to hide it."""
        return self(plain_lines(self(text)))

    def line(self, text: str) -> str:
        """Like :meth:`lines`, in one line."""
        return self(plain(self(text)))

    def within(self, value: T) -> T:
        """The same value with :meth:`lines` of every text in it, at any depth.

        For what is to be shown as Markdown: escaped, or cut to a length, a secret would not be known any more.
        """
        found: Any = value
        if isinstance(found, Enum):
            return value
        if isinstance(found, str):
            found = self.lines(found)
        elif isinstance(found, Mapping):
            found = {self.within(key): self.within(each) for key, each in found.items()}
        elif isinstance(found, (list, tuple)):
            found = type(found)(map(self.within, found))
        elif is_dataclass(found) and not isinstance(found, type):
            found = replace(found, **{field.name: self.within(getattr(found, field.name)) for field in fields(found)})
        return cast("T", found)
