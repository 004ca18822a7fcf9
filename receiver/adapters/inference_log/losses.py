"""How many requests each model server could not record, as its segments say; kept in a file beside the logs.

A server counts from its start on. So what was counted of each is remembered, also by the next receiver.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from receiver.core.state import Slot

log = logging.getLogger(__name__)

FILE = "dropped.json"
MOST_SERVERS = 1_000  # a model may make up names: then everything is counted from 0 again


class Losses:
    """The counts in one directory. One process writes."""

    def __init__(self, root: Path) -> None:
        self._file = root / FILE
        self._servers = _read(self._file)

    def note(self, slot: Slot, server: str, dropped: Mapping[str, int]) -> Counter[str]:
        """Take over what a server says; returns by how much each reason has grown."""
        known = self._servers.setdefault(str(slot), {}).setdefault(server, {})
        grown = Counter({reason: count - known.get(reason, 0) for reason, count in dropped.items()})
        known |= {reason: max(count, known.get(reason, 0)) for reason, count in dropped.items()}
        return +grown

    def save(self) -> None:
        """Write the file, whole. Raises OSError."""
        if sum(map(len, self._servers.values())) > MOST_SERVERS:
            self._servers.clear()
        new = self._file.with_name(f".{FILE}.new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(self._servers))
        new.replace(self._file)


def totals(root: Path) -> Mapping[tuple[str, str, str], int]:
    """How many requests were not recorded, by environment, model and reason."""
    found: Counter[tuple[str, str, str]] = Counter()
    for slot, servers in _read(root / FILE).items():
        environment, _, model = slot.partition("/")
        for counts in servers.values():
            found.update({(environment, model, reason): count for reason, count in counts.items()})
    return found


def _read(file: Path) -> dict[str, dict[str, dict[str, int]]]:
    try:
        raw = json.loads(file.read_bytes())
        return {
            str(slot): {
                str(server): {str(r): int(n) for r, n in counts.items()} for server, counts in servers.items()
            }
            for slot, servers in raw.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        log.warning("%s cannot be read, and is begun anew: %s", file, error)
        return {}
