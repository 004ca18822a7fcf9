"""Where the inference log of each slot is below the state directory, and the key of its hashes."""

import hashlib
import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from ml.datasets.request_log import slot_directory
from receiver.core.state import Slot
from serving.inference_log.spool import KEY, KEY_BYTES

log = logging.getLogger(__name__)

PRIVATE, STICKY = 0o700, 0o1777


class LogDirectories:
    """The directories of one state directory.

    Model servers write to ``segments/ENVIRONMENT/MODEL``; people read ``parquet/environment=.../model=.../date=...``.
    """

    def __init__(self, state: Path) -> None:
        self.root = state / "inference"

    def segments(self, slot: Slot) -> Path:
        """What model servers have written and nobody has collected yet."""
        return self.root / "segments" / slot.environment / slot.model

    def parquet(self, slot: Slot) -> Path:
        """What was collected, in a directory per day."""
        return slot_directory(self.all_parquet, slot.environment, slot.model)

    @property
    def all_parquet(self) -> Path:
        """What was collected of all slots."""
        return self.root / "parquet"

    def claims(self, slot: Slot) -> Path:
        """What was taken away from the model servers and is being converted."""
        return self.root / "claims" / slot.environment / slot.model

    def slots(self) -> Sequence[Slot]:
        """All slots that something was recorded of."""
        found = {(path.parent.name, path.name) for path in self.root.glob("segments/*/*")}
        return [Slot(environment, model) for environment, model in sorted(found)]

    def prepare(self, slot: Slot, *, shared: bool = False) -> Path | None:
        """Make the directory that a slot's model servers write to, with their key.

        ``shared``: containers write there, as another user. None: that failed, which must not hold up a deployment.
        """
        directory = self.segments(slot)
        try:
            self.root.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            directory.mkdir(parents=True, exist_ok=True)
            # Sticky: who writes there can neither remove nor replace the key.
            directory.chmod(STICKY if shared else PRIVATE)
            key = hashlib.blake2b(f"{slot}".encode(), key=_main_key(self.root / KEY)).digest()[:KEY_BYTES]
            _replace(directory / KEY, key, 0o644 if shared else 0o600)
        except OSError as error:
            log.warning("%s: nothing will be recorded: %s", directory, error.strerror)
            return None
        return directory


def _main_key(path: Path) -> bytes:
    """The key that those of all slots are derived from, made at first."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        found = b""
    if len(found) != KEY_BYTES:
        found = secrets.token_bytes(KEY_BYTES)
        _replace(path, found, 0o600)
    return found


def _replace(path: Path, content: bytes, mode: int) -> None:
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
    new.replace(path)
