"""How many requests may be recorded: an allowance that refills with time, at little cost per request."""


class RateLimit:
    """Lets so many through per second, and as many at once; a costly one may take more, which is made up for."""

    def __init__(self, per_second: int, now: float) -> None:
        """``now``: seconds, as all later ones; the clock may be set back."""
        self._most = per_second
        self._left = float(per_second)  # negative after a costly one
        self._refilled = now

    def allows(self, cost: int, now: float) -> bool:
        """Whether a request of this cost may be recorded; the cost is then taken off."""
        if self._left < 1:
            fresh = (now - self._refilled) * self._most
            if 0 <= fresh < 1:
                return False
            self._left += min(float(self._most), max(0.0, fresh))
            self._refilled = now
            if self._left < 1:
                return False
        self._left -= cost
        return True
