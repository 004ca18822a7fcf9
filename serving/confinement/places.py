"""What any confined process may read: of the system what holds no secrets, this Python, and what it can import."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import serving

SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/gnu/store", "/proc"),
    *("/sys/devices", "/sys/class", "/sys/bus", "/sys/block", "/sys/dev", "/sys/module", "/sys/fs/cgroup"),
    "/sys/kernel/mm",
    *("/opt/nvidia", "/opt/cuda", "/opt/rocm", "/opt/intel", "/opt/amazon"),
    *("/run/opengl-driver", "/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf"),
    *("/var/cache/fontconfig", "/var/lib/ca-certificates"),
)
# Of /etc by name: private keys and other services' passwords are there, and root may read them.
CONFIGURATION = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld.so.preload", "ld-musl-*.path", "alternatives"),
    *("localtime", "timezone", "locale.conf", "locale.alias", "default/locale", "os-release", "debian_version"),
    *("ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "ca-certificates", "pki/tls/certs", "pki/tls/cert.pem"),
    *("pki/ca-trust", "pki/tls/openssl.cnf", "crypto-policies"),
    *("hosts", "host.conf", "hostname", "resolv.conf", "nsswitch.conf", "gai.conf", "services", "protocols"),
    *("passwd", "group", "mime.types", "magic", "fonts", "python3*", "matplotlibrc", "mtab"),
    *("OpenCL", "vulkan", "glvnd", "nvidia", "java*"),
)
DEVICES = (
    *("null", "zero", "full", "random", "urandom", "tty"),
    *("nvidia*", "dri", "kfd", "accel", "dxg", "neuron*"),
)
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the system has it
SERVING = Path(serving.__path__[0]).resolve()
TRAINING, DATA = "ml", "data"  # beside it in a checkout: code that a pickle may name, and rows with labels
PACKAGES = {"site-packages", "dist-packages"}


def system() -> Iterator[Path]:
    """Files and directories of the system; some may not be there."""
    yield from map(Path, SYSTEM)
    for name in CONFIGURATION:
        yield from Path("/etc").glob(name)


def devices() -> Iterator[Path]:
    """Devices that give nothing away, and those that compute."""
    for name in DEVICES:
        yield from Path("/dev").glob(name)


def python() -> Iterator[Path]:
    """Where this Python and its packages are; of a checkout, no more than what a model server can import."""
    prefix = Path(sys.prefix)
    paths = [prefix, *map(Path, (sys.base_prefix, sys.exec_prefix, *(path for path in sys.path if path)))]
    paths += [path for path in prefix.iterdir() if path.is_symlink()]  # a venv made of links
    yield from (path for path in paths if path.name in PACKAGES or path.resolve() not in SERVING.parents)
    yield SERVING
    root = checkout()
    if root is not None and (root / TRAINING).is_dir():
        yield from (path for path in (root / TRAINING).iterdir() if path.name != DATA)


def checkout() -> Path | None:
    """The directory of a clone that the model server is imported from; None: it is installed as a package."""
    return None if SERVING.parent.name in PACKAGES else SERVING.parent


def import_from(directory: Path) -> None:
    """Import from a clone by way of links in ``directory``: the clone itself could not be listed any more.

    So do programs that this one starts.
    """
    root, links = checkout(), directory / "code"
    if root is None or str(root) not in sys.path:
        return
    links.mkdir(exist_ok=True)
    for name in (SERVING.name, TRAINING):
        if (root / name).is_dir():
            (links / name).symlink_to(root / name, target_is_directory=True)
    sys.path[:] = [str(links) if path == str(root) else path for path in sys.path]
    os.environ["PYTHONPATH"] = str(links)
