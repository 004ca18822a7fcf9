"""Whose fault it is that a version's packages are not there, in the flow's errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from ml.packages.build import PackagesFailedError, PackagesUnavailableError
from ml.packages.requirements import UnsuitablePackagesError
from receiver.core.errors import Rejected, Retryable, VersionFailed
from receiver.core.state import ServerSpec


@contextmanager
def blamed(spec: ServerSpec, unsuitable: str) -> Iterator[None]:
    """``unsuitable``: what is said of a version that no packages would help, such as ``can't be loaded here``."""
    name = f"{spec.slot} v{spec.version}"
    try:
        yield
    except UnsuitablePackagesError as error:
        raise Rejected(f"{name} {unsuitable}: {error}") from error
    except PackagesFailedError as error:
        raise VersionFailed(f"{name}: {error}") from error
    except PackagesUnavailableError as error:
        raise Retryable(f"{name}: {error}") from error
