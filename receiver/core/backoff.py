"""How long to wait before the next try. Pure."""

from dataclasses import dataclass

MOST_DOUBLINGS = 30


@dataclass(frozen=True, slots=True)
class Backoff:
    """A wait that doubles with each failed attempt. Both bounds in seconds."""

    first: float
    longest: float

    def after(self, attempts: int) -> float:
        """Seconds to wait after so many failed attempts in a row (at least 1)."""
        return min(self.first * 2.0 ** min(attempts - 1, MOST_DOUBLINGS), self.longest)
