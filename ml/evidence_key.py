"""Who measured a version: evidence is signed (ed25519), and believed where its environment trusts the key.

The private key is a PEM file, as ``openssl genpkey -algorithm ed25519`` writes it. Its public key is named by text,
``ed25519:<64 hex digits>``, in the environment file and in the evidence itself.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ml.errors import MlError
from ml.evidence import Evidence

if TYPE_CHECKING:  # it takes a tenth of a second to import
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX = "ed25519:"
OWN_KEY = "evidence.key"  # in the state directory
NAME, FILE_NAME, STATE_NAME = "PINRAIL_EVIDENCE_KEY", "PINRAIL_EVIDENCE_KEY_FILE", "PINRAIL_STATE_DIR"
PURPOSE = b"pinrail evidence 1\n"  # so that a signature of this key means nothing anywhere else


@dataclass(frozen=True, slots=True)
class EvidenceKey:
    """A private key; ``pem`` is its file's text."""

    pem: str = field(repr=False)

    def __post_init__(self) -> None:
        """MlError: the text is no such key."""
        self._private()

    @property
    def public(self) -> str:
        """What an environment file calls it."""
        return PREFIX + self._private().public_key().public_bytes_raw().hex()

    def sign(self, evidence: Evidence) -> Evidence:
        """The same evidence with this key's signature."""
        unsigned = replace(evidence, key=self.public, signature="")
        return replace(unsigned, signature=self._private().sign(_signed(unsigned)).hex())

    def _private(self) -> "Ed25519PrivateKey":
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            found = load_pem_private_key(self.pem.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            found = None
        if not isinstance(found, Ed25519PrivateKey):
            raise MlError("found no ed25519 key in PEM: `openssl genpkey -algorithm ed25519` makes one")
        return found


def signer(evidence: Evidence) -> str | None:
    """The public key whose signature holds for all of this evidence. None: it has no signature, or a wrong one."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(evidence.key.removeprefix(PREFIX)))
        public.verify(bytes.fromhex(evidence.signature), _signed(evidence))
    except (ValueError, InvalidSignature):
        return None
    return PREFIX + public.public_bytes_raw().hex()


def _signed(evidence: Evidence) -> bytes:
    """Every field but the signature itself, in one spelling."""
    fields = json.loads(replace(evidence, signature="").to_json())
    for name in ("champion", "report"):  # what was signed before there were these fields still holds
        if not fields[name]:
            del fields[name]
    return PURPOSE + json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def key_of(environ: Mapping[str, str]) -> EvidenceKey:
    """The key that the settings name, else the receiver's on this machine. MlError: it cannot be read or made."""
    if text := environ.get(NAME):
        return _parsed(text, NAME)
    if file := environ.get(FILE_NAME):
        return read_key(Path(file).expanduser())
    return own_key(Path(environ.get(STATE_NAME) or ".pinrail").expanduser())


def own_key(state: Path) -> EvidenceKey:
    """The key in a state directory, made where it is not there yet. MlError: it cannot be read or written."""
    file = state / OWN_KEY
    if not file.exists():
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(file)
        except OSError as error:
            raise MlError(f"{file}: {error.strerror}: make {state} writable for this user") from error
    return read_key(file)


def read_key(file: Path) -> EvidenceKey:
    """The key in a PEM file. MlError: it cannot be read, or is none."""
    try:
        text = file.read_text(encoding="ascii")
    except OSError as error:
        raise MlError(f"{file}: {error.strerror}: make it readable for this user") from error
    except UnicodeDecodeError:
        text = ""
    return _parsed(text, str(file))


def _parsed(text: str, place: str) -> EvidenceKey:
    try:
        return EvidenceKey(text)
    except MlError as error:
        raise MlError(f"{place}: {error}") from None


def new_key() -> EvidenceKey:
    """A key that nobody else has."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return EvidenceKey(made.decode())


def _make(file: Path) -> None:
    """Write a new key, whole and for its owner only; of those who come here at once, one wins."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.") as fresh:  # of mode 0600
        fresh.write(new_key().pem)
        fresh.flush()
        os.fsync(fresh.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh.name, file)
