"""What an inference log records, as it travels from the environment file to the model server: one line of JSON."""

import msgspec

DEFAULT_CALLER = "User-Agent"
PROBER = b"pinrail-prober"  # the user agent of the receiver's own questions, which are not recorded


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which requests are recorded, and which of their columns as they are."""

    sample: float = 1.0  # share of the requests, 0 to 1
    caller: str = DEFAULT_CALLER  # the header that names who asks; the user agent where it is missing
    drop: tuple[str, ...] = ()  # columns that are not recorded
    hash: tuple[str, ...] = ()  # columns that are recorded as a keyed hash

    def to_json(self) -> str:
        """The same as text; equal settings give equal texts."""
        return msgspec.json.encode(self, order="deterministic").decode()


def read_settings(text: str) -> LogSettings | None:
    """Read :meth:`LogSettings.to_json`'s text; empty: no log. ValueError: it is something else."""
    return msgspec.json.decode(text, type=LogSettings) if text else None
