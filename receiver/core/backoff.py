"""How long to wait before the next try. Pure."""

from dataclasses import dataclass

MOST_DOUBLINGS = 30


@dataclass(frozen=True, slots=True)
class Backoff:
    """A wait that doubles with each failed attempt. Both bounds in seconds."""

    first: float
    longest: float

    def after(self, attempts: int) -> float:
        """Seconds to wait after so many failed attempts in a row. ValueError: fewer than 1, nothing has failed."""
        if attempts < 1:
            raise ValueError(f"failed attempts: found {attempts}, at least 1 is needed for a wait")
        return min(self.first * 2.0 ** min(attempts - 1, MOST_DOUBLINGS), self.longest)
