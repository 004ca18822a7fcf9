"""How a model server process is launched: its command, its options and its environment.

The process target launches production's servers this way, and the gate the one that it measures: a latency that was
measured with other flags, variables or numbers of threads would say nothing about production. Pure: nothing is
launched here.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

# -P: no module comes from the working directory.
COMMAND = (sys.executable, "-P", "-m", "serving")

# What any program needs to find its files and to speak the user's language.
SYSTEM = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
        *("XDG_RUNTIME_DIR", "XDG_CACHE_HOME"),
    }
)
# Prefixes of what sets the number of threads of the numeric libraries. onnxruntime has one, unless the last one of
# NUMBERS_OF_THREADS says otherwise.
THREADS = ("OMP_", "OPENBLAS_", "MKL_", "ORT_")
NUMBERS_OF_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ORT_NUM_THREADS")
# Prefixes of what a download from the registry needs. Credentials are among these, in proxies' addresses too.
REGISTRY = (
    *("MLFLOW_", "DATABRICKS_", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)


def options(identity: Mapping[str, object], cache: Path, control: Path) -> list[str]:
    """The options of ``python -m serving`` behind a control socket; None in ``identity`` leaves an option out.

    Args:
        identity: model, version, digest, environment, stage and revision; log and log-directory; where there are
            several, replica and replicas; where its pin limits it, cpus and memory-mb; private, the descriptor of the
            socket to answer on before it has a port.
        cache: the directory of downloaded versions.
        control: where to open the control socket.
    """
    named = {**identity, "cache": cache, "control": control}
    return [f"--{name}={value}" for name, value in named.items() if value is not None]


def environment(environ: Mapping[str, str], *, registry: bool) -> dict[str, str]:
    """The variables of ``environ`` that a model server gets; Python's own, such as PYTHONPATH, are not among them.

    ``registry``: whether it may have to download its version. A server that finds it in the cache needs no
    credentials, so the gate's gets none.
    """
    prefixes = (*THREADS, *REGISTRY) if registry else THREADS
    return {name: value for name, value in environ.items() if name in SYSTEM or name.startswith(prefixes)}


def page_settings(dashboard: str, environment: str, model: str) -> dict[str, str]:
    """Where a server's page links to; ``dashboard``: the address of the receiver's pages; empty: nowhere."""
    return {"PINRAIL_DASHBOARD": f"{dashboard}/models/{environment}/{model}"} if dashboard else {}


def confinement(private: Path | None, *, network: bool) -> list[str]:
    """The options of a server that is confined to its files and ``private``; None: it is not confined."""
    return [] if private is None else ["--confine", *(["--egress"] if network else [])]


def private(directory: Path | None) -> dict[str, str]:
    """The variables by which a confined server, and what its model imports, finds the only directory to write to."""
    names = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "JOBLIB_TEMP_FOLDER", "NUMBA_CACHE_DIR")
    return {} if directory is None else dict.fromkeys(names, str(directory))


def thread_settings(environ: Mapping[str, str], cpus: float = 0.0) -> dict[str, str]:
    """The part of :func:`environment` that sets numbers of threads: all that a container gets of it.

    ``cpus``: how many processors it may use, where it may not use all; more threads would only wait for each other.
    """
    given = {name: value for name, value in environ.items() if name.startswith(THREADS)}
    return given | (dict.fromkeys(NUMBERS_OF_THREADS, str(max(1, int(cpus)))) if cpus else {})
