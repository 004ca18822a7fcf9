"""Which webhook is ours, kept in the state directory: ngrok's URLs come and go, and one hook follows them."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HookRecord:
    """The webhook as it was last registered."""

    repository: str  # owner/name
    hook: int
    url: str  # where it delivers


def read_hook(state: Path) -> HookRecord | None:
    """The record, or None where there is none that can be read: the hook is then found by its URL, or made anew."""
    try:
        return HookRecord(**json.loads((state / "webhook.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_hook(state: Path, record: HookRecord) -> None:
    """Replace the record."""
    new = state / "webhook.json.new"
    new.write_text(json.dumps(asdict(record)) + "\n")
    os.replace(new, state / "webhook.json")  # noqa: PTH105 - atomic, whatever was there
