"""What goes wrong in training and evaluation, in words for the person who ran it."""

INTERRUPTED = 130  # the exit code after Ctrl-C, by the shell's convention


class MlError(Exception):
    """Base of the errors that ``ml`` raises on purpose; entry points print its text and exit with 1."""


class DataError(MlError):
    """A data file is not what its columns promise: says which file, which column, and what was found."""


class RegistryError(MlError):
    """MLflow did not answer, refused us, or does not have what was asked for: says which, and what to do."""


class EvidenceError(MlError):
    """Recorded evidence is not valid: its text does not match the checksum in the tag."""
