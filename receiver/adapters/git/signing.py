"""The key that commits are signed with, by git itself (``git commit-tree -S``): an SSH key or an OpenPGP key.

The key stays with ssh-keygen, ssh-agent or gpg; here it is only named.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from receiver.core.errors import Rejected

FINGERPRINT = re.compile(r"(0x)?[0-9A-Fa-f]{8,40}")
ALLOWED = "a path to an SSH key, or an OpenPGP key's fingerprint"
# What ssh-keygen says of a key that needs a passphrase, which nobody is there to type.
LOCKED = re.compile(r"passphrase", re.IGNORECASE)
OLD_GIT = re.compile(r"unsupported value for gpg\.format", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One signing key: a file, or a fingerprint in gpg's keyring."""

    name: str
    path: Path | None  # None: an OpenPGP key

    @classmethod
    def parse(cls, text: str) -> "SigningKey":
        """Read the setting. ValueError: it is neither a path nor a fingerprint."""
        if FINGERPRINT.fullmatch(text):
            return cls(text, None)
        if "/" not in text and not text.startswith("~"):
            raise ValueError(f"found {text!r}, allowed {ALLOWED}: write a path with a slash, such as ./key")
        return cls(text, Path(text).expanduser().absolute())

    @property
    def config(self) -> Sequence[tuple[str, str]]:
        """Git's configuration for it."""
        kind, key = ("openpgp", self.name) if self.path is None else ("ssh", str(self.path))
        return [("gpg.format", kind), ("user.signingKey", key)]

    @property
    def environment(self) -> Mapping[str, str]:
        """Where gpg finds its keyring and agent; git's own configuration stays out of it."""
        home = {"GNUPGHOME": os.environ["GNUPGHOME"]} if "GNUPGHOME" in os.environ else {}
        return {**home, "HOME": os.path.expanduser("~")}  # noqa: PTH111 - without a home, "~" does no harm

    def require(self) -> None:
        """Rejected: there is no such file."""
        if self.path is not None and not self.path.is_file():
            raise Rejected(
                f"PINRAIL_SIGNING_KEY: found no file {self.path}, so the commit cannot be signed: put the SSH key "
                "there (`ssh-keygen -t ed25519 -f FILE -N ''` makes one), or set the path of another"
            )

    def refusal(self, said: str) -> Rejected:
        """Why git did not sign, from what it said, with what to do."""
        if OLD_GIT.search(said):
            todo = "signing with an SSH key needs git 2.34 or later; update git, or set an OpenPGP key"
        elif self.path is not None and LOCKED.search(said):
            todo = (
                "it has a passphrase that nobody is there to type: add it to an ssh-agent (`ssh-add`) whose "
                "SSH_AUTH_SOCK the receiver has, or use a key without a passphrase"
            )
        elif self.path is None:
            todo = (
                "gpg must have its secret key (`gpg --list-secret-keys`), and gpg-agent the passphrase, if any; "
                f"`gpg -bsau {self.name}` shows more"
            )
        else:
            todo = (
                "the file must hold an SSH key that only its owner can read, or the public half of one in ssh-agent"
            )
        return Rejected(f"PINRAIL_SIGNING_KEY: {self.name} did not sign the commit; {todo} ({said})")
