"""Where a page of records ends, as text that a client sends back: time and number of its last record. Pure."""

import re
from dataclasses import dataclass

from receiver.core.errors import Rejected

FORM = re.compile(r"(\d{1,12}(?:\.\d{1,20})?)-(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Records that are older than this one, or equally old with a lower number, come next."""

    at: float  # seconds since the epoch
    number: int

    def __str__(self) -> str:
        return f"{self.at!r}-{self.number}"

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """The cursor that an answer named. Rejected: it is none."""
        found = FORM.fullmatch(text)
        if found is None:
            raise Rejected(f"cursor: found {text[:40]!r}, allowed what `next` of an earlier answer names")
        return cls(float(found[1]), int(found[2]))
