"""Environments are made by uv from an index on loopback: whole or not at all, once, and within limits."""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from ml.packages.build import PackagesFailedError, PackagesUnavailableError, find_python, interpreter_of
from ml.packages.decision import OURS, Needed, Serving
from ml.packages.store import PackageStore
from serving.confinement import landlock
from tests.support.package_index import Index, running_index
from tests.support.waiting import eventually

NOTHING = Serving({}, {})
ROOT = Path(__file__).parents[3]

BACKEND = """
import os, pathlib, sys
sys.path.insert(0, os.path.dirname(__file__))
import wheels

def build_wheel(directory, settings=None, metadata=None):
    def attempt(act):
        try:
            act()
        except OSError as error:
            return type(error).__name__
        return "done"
    found = {
        "environment": dict(os.environ),
        "read": attempt(lambda: pathlib.Path(SECRET).read_text()),
        "written": attempt(lambda: pathlib.Path(SECRET).with_name("new").write_text("x")),
    }
    name, content = wheels.wheel("built", "1.0", code=f"FOUND = {found!r}")
    pathlib.Path(directory, name).write_bytes(content)
    return name
"""


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with running_index() as found:
        monkeypatch.setenv("UV_DEFAULT_INDEX", found.url)
        found.add("small", "1.0")
        found.add("small", "2.0", ["base<2"])
        found.add("base", "1.0")
        found.add("base", "2.0")
        yield found


def store(directory: Path) -> PackageStore:
    return PackageStore(directory / "environments", serving=lambda: NOTHING)


def needed(*requirements: str) -> Needed:
    return Needed(requirements, (), OURS, requirements)


def keep_on() -> None:
    """Nobody asks to stop."""


def run(environment: Path, code: str) -> str:
    done = subprocess.run(
        [interpreter_of(environment), "-P", "-c", code], capture_output=True, text=True, check=False, timeout=30
    )
    return done.stdout.strip() or done.stderr


def left_over(root: Path) -> list[str]:
    return [path.name for path in root.iterdir() if path.name.startswith(".new-")]


def test_an_environment_has_its_packages_and_the_model_server_and_nothing_else(tmp_path: Path, index: Index) -> None:
    packages = store(tmp_path)
    made = packages.obtain(needed("small==2.0"), keep_on)
    assert run(made, "import small, base; print(small.VERSION, base.VERSION)") == "2.0 1.0"
    assert run(made, "import serving; print(serving.__name__)") == "serving"
    assert "No module named 'ml'" in run(made, "import ml")
    assert "No module named 'numpy'" in run(made, "import numpy")
    assert {"base==1.0", "small==2.0"} <= set((made / "requirements.txt").read_text().split())

    index.status = 503
    asked = len(index.asked)
    assert packages.obtain(needed("small==2.0"), keep_on) == made
    assert len(index.asked) == asked, "what is here is not asked for again"
    assert packages.bytes_used() > 0
    assert left_over(packages.root) == []


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not in a venv")
def test_its_python_is_not_that_of_a_venv_which_uv_may_not_read() -> None:
    assert not Path(find_python(OURS)).is_relative_to(sys.prefix)


def test_what_cannot_be_installed_is_the_packages_fault_and_an_index_that_fails_is_not(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = store(tmp_path)
    with pytest.raises(PackagesFailedError, match=r"small>=2\.0 depends on base<2"):
        packages.obtain(needed("small==2.0", "base==2.0"), keep_on)
    with pytest.raises(PackagesFailedError, match="nowhere was not found") as failed:
        packages.obtain(Needed(("nowhere",), (), OURS, (), indexes=("https://cpu.invalid/simple",)), keep_on)
    assert "name https://cpu.invalid/simple, which is not asked" in str(failed.value)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    index.status = 503
    with pytest.raises(PackagesUnavailableError, match="503"):
        packages.obtain(needed("small==1.0"), keep_on)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    with pytest.raises(PackagesUnavailableError, match="Connection refused"):
        packages.obtain(needed("small==1.0"), keep_on)
    assert [packages.find(needed(*one)) for one in (["small==1.0"], ["nowhere"])] == [None, None]
    assert left_over(packages.root) == []


def test_hashes_are_verified_and_with_hashes_for_all_nothing_without_one_is_installed(
    tmp_path: Path, index: Index
) -> None:
    index.add("pandas", "0.1")
    right = [
        f"{name}=={version} {index.hash_of(name, version)}" for name, version in (("small", "1.0"), ("pandas", "0.1"))
    ]
    packages, artifacts = store(tmp_path), tmp_path / "version"
    artifacts.mkdir()
    (artifacts / "MLmodel").write_text('signature: {inputs: \'[{"name": "a", "type": "double"}]\'}\nflavors: {}\n')

    def asked(*lines: str) -> Needed:
        (artifacts / "requirements.txt").write_text("\n".join(lines))
        found = packages.needed(artifacts)
        assert found is not None
        return found

    assert asked(*right).verified
    assert run(packages.obtain(asked(*right), keep_on), "import small; print(small.VERSION)") == "1.0"
    wrong = f"small==1.0 --hash=sha256:{'0' * 64}"
    with pytest.raises(PackagesFailedError, match=r"Hash mismatch for `small==1\.0`"):
        packages.obtain(asked(wrong, "pandas==0.1"), keep_on)
    assert not asked(wrong, "pandas==0.1").verified
    dependent = asked(f"small==2.0 {index.hash_of('small', '2.0')}", right[1])
    with pytest.raises(PackagesFailedError, match=r"base==1\.0"):
        packages.obtain(dependent, keep_on)
    only = PackageStore(packages.root, serving=lambda: NOTHING, only_verified=True)
    (artifacts / "requirements.txt").write_text("small==1.0\n")
    assert only.needed(artifacts) is None
    assert left_over(packages.root) == []


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A directory that is not among the devices, as tmp_path may be."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        yield Path(directory)


def test_packages_that_are_built_see_no_secret_and_write_nowhere_else(
    on_disk: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = on_disk / "secret"
    secret.write_text("a key")
    monkeypatch.setenv("GITHUB_TOKEN", "a token")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a token")
    project = '[project]\nname = "built"\nversion = "1.0"\n[build-system]\nrequires = []\n'
    files = {
        "pyproject.toml": f'{project}build-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": f"SECRET = {str(secret)!r}\n{BACKEND}",
        "wheels.py": (ROOT / "tests/support/package_index.py").read_text(),
        "PKG-INFO": "Metadata-Version: 2.2\nName: built\nVersion: 1.0\n",
    }
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"built-1.0/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, BytesIO(text.encode()))
    index.files["built-1.0.tar.gz"] = packed.getvalue()
    made = store(on_disk).obtain(needed("built"), keep_on)
    found = json.loads(run(made, "import built, json; print(json.dumps(built.FOUND))"))
    assert not {"GITHUB_TOKEN", "MLFLOW_TRACKING_TOKEN"} & set(found["environment"])
    if landlock.version():
        assert (found["read"], found["written"]) == ("PermissionError", "PermissionError")
        assert not (on_disk / "new").exists()


def test_a_build_gives_way_at_once(tmp_path: Path, index: Index) -> None:
    index.answering.clear()
    asked = threading.Event()

    class GivesWayError(Exception):
        pass

    def stop() -> None:
        if index.asked:
            asked.set()
            raise GivesWayError

    with pytest.raises(GivesWayError):
        store(tmp_path).obtain(needed("small==1.0"), stop)
    assert asked.is_set()
    assert left_over(tmp_path / "environments") == []


def test_a_build_that_was_killed_leaves_nothing_believed_and_nobody_behind(tmp_path: Path, index: Index) -> None:
    index.answering.clear()
    code = (
        "from pathlib import Path\nfrom tests.ml.packages.test_store import *\n"
        f"store(Path({str(tmp_path)!r})).obtain(needed('small==1.0'), keep_on)"
    )
    builder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    eventually(lambda: bool(index.asked), 30)
    builder.kill()
    builder.wait()
    packages = store(tmp_path)
    eventually(lambda: not _running(str(packages.root)), 20)
    assert packages.find(needed("small==1.0")) is None
    assert len(left_over(packages.root)) == 1
    index.answering.set()
    made = packages.obtain(needed("small==1.0"), keep_on)
    assert run(made, "import small; print(small.VERSION)") == "1.0"
    os.utime(packages.root / left_over(packages.root)[0], (0, 0))
    packages.prune([], 3600)
    assert left_over(packages.root) == []


def test_two_that_need_one_environment_make_it_once(tmp_path: Path, index: Index) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(store(tmp_path).obtain(needed("small==1.0"), keep_on)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert len(set(found)) == 1
    assert index.asked.count("/simple/small/") == 2, "to resolve, and to install"


def test_what_nobody_used_for_long_goes_and_what_is_in_use_stays(tmp_path: Path, index: Index) -> None:
    packages = PackageStore(tmp_path / "environments", serving=lambda: NOTHING)
    artifacts = tmp_path / "version"
    artifacts.mkdir()
    (artifacts / "MLmodel").write_text('signature: {inputs: \'[{"name": "a", "type": "double"}]\'}\nflavors: {}\n')
    (artifacts / "requirements.txt").write_text("small==1.0\npandas==0.1\n")
    index.add("pandas", "0.1")
    listed = packages.needed(artifacts)
    assert listed is not None
    kept, gone = packages.obtain(listed, keep_on), packages.obtain(needed("small==2.0"), keep_on)
    for path in (kept, gone):
        os.utime(path, (time.time() - 7200,) * 2)
    assert packages.prune([artifacts, tmp_path / "not here"], 3600) == 1
    assert (kept.exists(), gone.exists()) == (True, False)
    assert run(kept, "import small; print(small.VERSION)") == "1.0"
    assert packages.prune([artifacts], 3600) == 0
    assert packages.prune([], 36_000, 1) == 0, "used today"
    os.utime(kept, (time.time() - 100_000,) * 2)
    assert (packages.prune([artifacts], 1e6, 1), packages.prune([], 1e6, 1e12)) == (0, 0)
    assert packages.prune([], 1e6, 1) == 1
    assert not kept.exists(), "more than may be kept"


def _running(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in words:
            found.append(words)
    return found
