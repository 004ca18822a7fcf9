"""Fetching exact versions by content: what is damaged, missing, other than expected, slow or not there."""

import hashlib
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest

from serving.errors import (
    DigestDiffersError,
    ModelMissingError,
    NoRoomError,
    RegistryUnavailableError,
    VersionTooLargeError,
)
from serving.model import download
from serving.model.digest import digest_tree
from serving.model.download import Bounds
from serving.model.loader import Cache
from tests.support.fault_proxy import CutShort, Endless, fault_proxy
from tests.support.mlflow_server import register_version
from tests.support.ports import free_port
from tests.support.waiting import eventually

FILES: dict[str, str | bytes] = {"MLmodel": "flavors: {}\n", "data/weights.bin": b"\x00\x01", "ä b.txt": "x"}


@pytest.fixture
def client(mlflow_server: str) -> Any:
    return mlflow.MlflowClient(mlflow_server)


@pytest.fixture
def cache(tmp_path: Path, mlflow_server: str) -> Cache:
    return Cache(tmp_path / "cache", mlflow_server)


def test_a_version_comes_whole_and_is_found_again_with_the_registry_down(
    client: Any, cache: Cache, tmp_path: Path
) -> None:
    version = register_version(client, "loader-whole", FILES)
    fetched = cache.fetch("loader-whole", version)
    assert {p.relative_to(fetched.path).as_posix() for p in fetched.path.rglob("*") if p.is_file()} == set(FILES)
    assert fetched.path == tmp_path / "cache" / fetched.digest.removeprefix("sha256:")
    assert digest_tree(fetched.path) == fetched.digest

    offline = Cache(tmp_path / "cache", f"http://127.0.0.1:{free_port()}")
    assert offline.obtain("loader-whole", version, fetched.digest) == fetched.path


def test_what_the_run_measured_is_known_with_the_registry_down_and_changes_no_digest(
    client: Any, cache: Cache, tmp_path: Path
) -> None:
    version = register_version(client, "loader-measured", FILES)
    run_id = client.get_model_version("loader-measured", str(version)).run_id
    client.log_metric(run_id, "accuracy", 0.8066)
    client.log_metric(run_id, "system/cpu_utilization_percentage", 12.5)
    fetched = cache.fetch("loader-measured", version)
    assert digest_tree(fetched.path) == fetched.digest
    offline = Cache(tmp_path / "cache", f"http://127.0.0.1:{free_port()}")
    assert offline.find(fetched.digest) == fetched.path
    assert offline.metrics_of("loader-measured", version) == {"accuracy": 0.8066}
    (record,) = (tmp_path / "cache" / "index" / "loader-measured").glob("*.metrics.json")
    assert record.stat().st_mode & 0o777 == 0o644  # a container's own user reads it


@pytest.mark.parametrize("failure", [RuntimeError("no such run"), None])
def test_a_version_whose_metrics_cannot_be_had_is_fetched_all_the_same(
    client: Any, cache: Cache, monkeypatch: pytest.MonkeyPatch, failure: Exception | None
) -> None:
    version = register_version(client, "loader-unmeasured", FILES)
    hanging = threading.Event()

    def fail(*_: object) -> None:
        if failure is not None:
            raise failure
        hanging.wait(30)

    monkeypatch.setattr("serving.model.loader._metrics", fail)
    monkeypatch.setattr("serving.model.loader.METRICS_SECONDS", 0.05)
    fetched = cache.fetch("loader-unmeasured", version)
    assert cache.find(fetched.digest) == fetched.path
    assert cache.metrics_of("loader-unmeasured", version) == {}
    hanging.set()


@pytest.mark.parametrize("text", ["", "[1]", '{"accuracy": "high"}', '{"accuracy": null}', "\x00"])
def test_a_record_of_metrics_that_is_damaged_counts_as_none(cache: Cache, text: str) -> None:
    record = cache.root / "index" / "loader-odd" / "1.metrics.json"
    record.parent.mkdir(parents=True)
    record.write_text(text)
    assert cache.metrics_of("loader-odd", 1) == {}


def test_a_version_with_equal_bytes_is_kept_once(client: Any, cache: Cache) -> None:
    one = register_version(client, "loader-equal", FILES)
    two = register_version(client, "loader-equal", FILES)
    assert cache.fetch("loader-equal", one) == cache.fetch("loader-equal", two)
    assert [p.name for p in cache.root.iterdir() if p.name.startswith(".new-")] == []


def test_an_alias_that_moves_does_not_change_what_a_version_is(client: Any, cache: Cache) -> None:
    one = register_version(client, "loader-alias", FILES)
    two = register_version(client, "loader-alias", {**FILES, "new": "1"})
    client.set_registered_model_alias("loader-alias", f"v{one}x", two)
    assert cache.fetch("loader-alias", one).digest != cache.fetch("loader-alias", two).digest


@pytest.mark.parametrize("how", ["changed", "extra", "missing"])
def test_a_damaged_entry_is_discarded_and_fetched_again(client: Any, cache: Cache, how: str) -> None:
    version = register_version(client, f"loader-damaged-{how}", FILES)
    fetched = cache.fetch(f"loader-damaged-{how}", version)
    weights = fetched.path / "data" / "weights.bin"
    if how == "changed":
        weights.write_bytes(b"\x00\x02")
    elif how == "extra":
        (fetched.path / "data" / "evil.py").write_text("print()")
    else:
        weights.unlink()
    assert cache.find(fetched.digest) is None
    assert not fetched.path.exists()
    assert list(cache.root.glob(".new-*")) == []
    assert cache.obtain(f"loader-damaged-{how}", version, fetched.digest) == fetched.path


def test_a_damaged_entry_is_replaced_by_a_fetch_that_did_not_look(client: Any, cache: Cache) -> None:
    version = register_version(client, "loader-replaced", FILES)
    fetched = cache.fetch("loader-replaced", version)
    (fetched.path / "MLmodel").write_text("other")
    assert cache.fetch("loader-replaced", version) == fetched
    assert digest_tree(fetched.path) == fetched.digest


def test_other_artifacts_than_expected_are_refused_and_not_kept(client: Any, cache: Cache) -> None:
    version = register_version(client, "loader-differs", FILES)
    expected = "sha256:" + "0" * 64
    with pytest.raises(DigestDiffersError, match=rf"found sha256:[0-9a-f]{{64}}, expected {expected}\. .*register"):
        cache.obtain("loader-differs", version, expected)
    assert list(cache.root.iterdir()) == []


@pytest.mark.parametrize(("model", "version"), [("loader-none", 1), ("loader-few", 99)])
def test_a_missing_model_or_version_is_named(client: Any, cache: Cache, model: str, version: int) -> None:
    register_version(client, "loader-few", FILES)
    with pytest.raises(ModelMissingError, match=f"{model} version {version} is not in the registry"):
        cache.fetch(model, version)


def test_a_version_without_artifacts_is_refused(client: Any, cache: Cache) -> None:
    version = register_version(client, "loader-empty", {"notes.txt": "no model here"})
    with pytest.raises(ModelMissingError, match="there is no MLmodel file"):
        cache.fetch("loader-empty", version)


def test_a_version_whose_artifacts_were_deleted_is_refused(tmp_path: Path, cache: Cache, client: Any) -> None:
    version = register_version(client, "loader-deleted", FILES)
    run = client.get_run(client.get_model_version("loader-deleted", str(version)).run_id)
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(run.info.artifact_uri, tracking_uri=cache._tracking_uri).delete_artifacts("model")
    with pytest.raises(ModelMissingError, match="artifacts of loader-deleted"):
        cache.fetch("loader-deleted", version)


def test_a_registry_that_is_down_is_distinguished_from_a_missing_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    cache = Cache(tmp_path, f"http://user:secret@127.0.0.1:{free_port()}")
    with pytest.raises(RegistryUnavailableError, match="could not be read from MLflow") as raised:
        cache.fetch("loader-down", 1)
    assert "secret" not in str(raised.value)


def test_a_download_that_drips_ends_at_the_deadline(
    tmp_path: Path, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = threading.Event()
    monkeypatch.setattr("serving.model.loader._download", lambda *_: hanging.wait(30))
    with pytest.raises(RegistryUnavailableError, match=r"within 0\.05 s"):
        Cache(tmp_path, mlflow_server, bounds=Bounds(0.05)).fetch("loader-slow", 1)
    hanging.set()


@pytest.mark.parametrize("name", ["../../etc", "..", "a/b", "-x", "", "a\nb", "é", "a" * 65])
def test_a_name_that_could_leave_the_cache_is_refused(cache: Cache, name: str) -> None:
    with pytest.raises(ModelMissingError, match="is not a valid model name"):
        cache.fetch(name, 1)


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../..", "sha256:" + "A" * 64, "md5:" + "0" * 64])
def test_what_is_no_digest_is_refused(cache: Cache, digest: str) -> None:
    with pytest.raises(DigestDiffersError, match="looks like sha256"):
        cache.find(digest)


def test_a_model_that_mlflow_logged_by_itself_comes_too(
    classifier: Path, mlflow_server: str, client: Any, cache: Cache, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(classifier, copy)
    experiment = client.create_experiment("loader-logged")
    logged = client.create_logged_model(experiment, name="m")
    client.log_model_artifacts(logged.model_id, str(copy))
    client.finalize_logged_model(logged.model_id, "READY")
    client.create_registered_model("loader-logged")
    version = client.create_model_version("loader-logged", f"models:/{logged.model_id}", model_id=logged.model_id)
    assert cache.fetch("loader-logged", int(version.version)).digest == digest_tree(classifier)


def test_what_nobody_used_for_long_is_pruned_and_what_is_in_use_or_fresh_stays(client: Any, cache: Cache) -> None:
    kept, old, fresh = (
        cache.fetch("loader-pruned", register_version(client, "loader-pruned", {**FILES, "note": note}))
        for note in (b"kept", b"old", b"fresh")
    )
    leftover = cache.root / ".new-killed"
    leftover.mkdir()
    for path in (kept.path, old.path, fresh.path, leftover):
        os.utime(path, (time.time() - 100_000,) * 2)
    assert cache.find(fresh.digest) == fresh.path, "looking for it is using it"
    assert cache.prune({kept.digest}, 50_000) == 1
    assert (kept.path.is_dir(), old.path.exists(), fresh.path.is_dir(), leftover.exists()) == (
        True,
        False,
        True,
        False,
    )
    assert cache.metrics_of("loader-pruned", 1) == {}
    assert cache.obtain("loader-pruned", 2, old.digest) == old.path, "it is fetched again"


def test_above_the_limit_what_was_unused_for_longest_goes_and_what_was_used_today_stays(
    client: Any, cache: Cache
) -> None:
    name, note = "loader-limited", b"x" * 100_000
    kept, oldest, old, today = (
        cache.fetch(name, register_version(client, name, {**FILES, "note": note + who}))
        for who in (b"kept", b"oldest", b"old", b"today")
    )
    for model, days in ((kept, 9), (oldest, 8), (old, 7)):
        os.utime(model.path, (time.time() - days * 86_400,) * 2)

    def there() -> list[bool]:
        return [model.path.exists() for model in (kept, oldest, old, today)]

    assert cache.prune({kept.digest}, 1e9, 1e9) == 0
    assert cache.prune({kept.digest}, 1e9, 350_000) == 1
    assert there() == [True, False, True, True]
    assert cache.prune({kept.digest}, 1e9, 1) == 1
    assert there() == [True, False, False, True]


def test_a_file_cannot_pass_for_two_by_a_line_break_in_its_name(tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    for directory in (two, one):
        directory.mkdir()
    for name in ("a", "b"):
        (two / name).write_text(name)
    of_b = hashlib.sha256(b"b").hexdigest()
    (one / "a").write_text("a")
    (one / "a").rename(one / f"a\n{of_b}  b")
    assert digest_tree(one) != digest_tree(two)


def left(root: Path) -> list[str]:
    """What a download has left behind."""
    return [path.name for path in root.iterdir() if path.name != "index"]


def test_a_version_that_says_that_it_is_too_large_is_not_downloaded(
    client: Any, tmp_path: Path, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = register_version(client, "loader-large", {**FILES, "data/weights.bin": bytes(3_000_000)})
    fetched: list[str] = []
    monkeypatch.setattr(download, "_fetch_file", lambda _, path, __: fetched.append(path))
    small = Cache(tmp_path / "cache", mlflow_server, Bounds(most_mb=1))
    said = r"loader-large version 1 is too large: found 3\.0 MB, allowed 1: .* raise PINRAIL_VERSION_MB"
    with pytest.raises(VersionTooLargeError, match=said):
        small.fetch("loader-large", version)
    assert (fetched, left(tmp_path / "cache")) == ([], [])


def test_a_version_that_grows_while_it_comes_is_stopped_and_removed(
    client: Any, tmp_path: Path, mlflow_server: str
) -> None:
    version = register_version(client, "loader-grows", FILES)
    with fault_proxy(mlflow_server) as proxy:
        proxy.plan(Endless(), "weights.bin", times=float("inf"))
        small = Cache(tmp_path / "cache", proxy.url, Bounds(seconds=60, most_mb=5))
        with pytest.raises(VersionTooLargeError, match="and more may be to come, allowed 5"):
            small.fetch("loader-grows", version)
        eventually(lambda: "download" not in {thread.name for thread in threading.enumerate()})
        came = proxy.streamed
        assert 5_000_000 < came < 500_000_000
        assert left(tmp_path / "cache") == []
        proxy.behave()
        assert small.fetch("loader-grows", version).path.is_dir()


def test_a_file_that_comes_cut_short_is_no_part_of_a_version(client: Any, tmp_path: Path, mlflow_server: str) -> None:
    version = register_version(client, "loader-cut", {**FILES, "data/weights.bin": bytes(range(100))})
    with fault_proxy(mlflow_server) as proxy:
        proxy.plan(CutShort(), "weights.bin")
        cache = Cache(tmp_path / "cache", proxy.url)
        said = r"data/weights\.bin came with 50 bytes, and the store lists 100: it was cut short"
        with pytest.raises(RegistryUnavailableError, match=said):
            cache.fetch("loader-cut", version)
        fetched = cache.fetch("loader-cut", version)
    assert (fetched.path / "data/weights.bin").read_bytes() == bytes(range(100))


def test_a_version_of_very_many_files_is_refused(client: Any, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    version = register_version(client, "loader-many", FILES)
    monkeypatch.setattr(download, "MOST_FILES", 2)
    with pytest.raises(VersionTooLargeError, match="has more than 2 files"):
        cache.fetch("loader-many", version)


def test_a_file_outside_of_the_version_is_never_written(
    client: Any, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = register_version(client, "loader-outside", FILES)
    listed = [mlflow.entities.FileInfo("../../../../stolen", is_dir=False, file_size=1)]
    monkeypatch.setattr(download, "_files", lambda *_: iter(listed))
    with pytest.raises(ModelMissingError, match="lists a file outside of its directory"):
        cache.fetch("loader-outside", version)
    assert not list(tmp_path.rglob("stolen"))


@pytest.mark.parametrize("free", [[4096], [1 << 40, 1 << 40, 4096]], ids=["before", "while it comes"])
def test_a_full_disk_is_distinguished_from_missing_artifacts(
    client: Any, cache: Cache, monkeypatch: pytest.MonkeyPatch, free: list[int]
) -> None:
    version = register_version(client, "loader-full", FILES)

    def disk_usage(_: Path) -> Any:
        return shutil._ntuple_diskusage(1 << 41, 1 << 41, free.pop(0) if len(free) > 1 else free[0])

    def slow(*_: Any) -> None:
        while True:
            threading.Event().wait(0.01)

    monkeypatch.setattr("serving.model.download._fetch_file", slow)
    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    with pytest.raises(NoRoomError, match=r"the disk of .* is full\. .* Free some space"):
        cache.fetch("loader-full", version)
    assert left(cache.root) == []


def test_a_download_that_ran_out_of_time_ends_its_thread_and_goes_on_at_the_next_try(
    client: Any, tmp_path: Path, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = register_version(client, "loader-resumed", FILES)
    fetch_file, came = download._fetch_file, []

    def drip(repository: Any, path: str, local: Path) -> None:
        if came:
            local.write_bytes(b"part")
            while True:
                threading.Event().wait(0.01)
        fetch_file(repository, path, local)
        came.append(path)

    monkeypatch.setattr(download, "_fetch_file", drip)
    hurried = Cache(tmp_path / "cache", mlflow_server, bounds=Bounds(1.5))
    with pytest.raises(
        RegistryUnavailableError, match=r"within 1\.5 s: 0\.0 of 0\.0 MB .*raise PINRAIL_DOWNLOAD_SECOND"
    ):
        hurried.fetch("loader-resumed", version)
    assert "download" not in {thread.name for thread in threading.enumerate()}
    assert len(came) == 1

    def note(repository: Any, path: str, local: Path) -> None:
        came.append(path)
        fetch_file(repository, path, local)

    monkeypatch.setattr(download, "_fetch_file", note)
    fetched = Cache(tmp_path / "cache", mlflow_server).fetch("loader-resumed", version)
    assert sorted(came) == sorted(f"model/{name}" for name in FILES), "no file came twice"
    assert {p.relative_to(fetched.path).as_posix() for p in fetched.path.rglob("*") if p.is_file()} == set(FILES)
    assert [p.name for p in fetched.path.parent.iterdir() if p.name.startswith(".new-")] == []


def test_two_downloads_of_one_version_at_once_do_not_write_to_one_place(tmp_path: Path) -> None:
    place, other = tmp_path / ".new-m-1", tmp_path / ".new-x"
    other.mkdir()
    with download.resumable(place, lambda: other) as first, download.resumable(place, lambda: other) as second:
        assert (first, second) == (place, other)
    assert list(tmp_path.iterdir()) == []


def test_too_many_downloads_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "running", threading.BoundedSemaphore(1))
    download.running.acquire()
    with pytest.raises(RegistryUnavailableError, match="too many downloads"):
        download.run(lambda _: None, tmp_path, "m version 1", Bounds(1.0))


def test_a_long_download_says_in_the_log_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(download, "PROGRESS_SECONDS", 0.01)

    def call(progress: download.Progress) -> None:
        progress.bytes = 4_000_000
        (tmp_path / "weights").write_bytes(bytes(1_000_000))
        eventually(lambda: "1.0 of 4.0 MB" in caplog.text)

    download.run(call, tmp_path, "m version 1", Bounds(30.0))
    assert "downloading m version 1: 1.0 of 4.0 MB" in caplog.text
