"""Times as text. Seconds since the epoch go in; the same for the command line, the API and the dashboard. Pure."""

from datetime import UTC, datetime


def iso(seconds: float) -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def seconds_of(text: str) -> float:
    """The seconds since the epoch of an :func:`iso` time."""
    return datetime.fromisoformat(text).timestamp()


def local(text: str) -> str:
    """An :func:`iso` time as this machine's local time, for a table."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(then: float, now: float) -> str:
    """How long ago ``then`` was."""
    seconds = max(0, int(now - then))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
