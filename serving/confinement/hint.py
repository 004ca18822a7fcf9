"""What to do where a library meets the limits of a confined process, which only says "Permission denied"."""

from collections.abc import Iterator

from serving.confinement import confine

DENIED = "Permission denied"  # in the text of errors that libraries make of it, as where a shared object is opened


def hint(error: BaseException | None) -> str:
    """Say what was denied and what to set; empty: this process is not confined, or the error has another cause."""
    found = next((one for one in _chain(error) if isinstance(one, PermissionError) or DENIED in str(one)), None)
    if found is None or not confine.in_force():
        return ""
    path = getattr(found, "filename", None)
    what = f"the file {path}" if path else "a connection, a socket or another process"
    if path:
        advice = "log it with the version, or write to the directory in TMPDIR"
    else:
        advice = "set `egress: true` beside the pin if it is to open connections"
    return (
        f"This model server is confined: it may not reach {what} (docs/security.md#confinement): {advice}; "
        "PINRAIL_CONFINE=false gives every model the rights of the receiver's user."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
