import fcntl
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from receiver.adapters.git.files import read_files
from receiver.adapters.git.mirror import GitSource
from receiver.core.errors import InvalidPins, Rejected, Retryable
from receiver.core.pins import read_pins
from serving.model.digest import bytes_below
from tests.support.git_repos import FILES, PRODUCTION, STAGING, Origin, git, pinned

PRODUCTION_FILE = "environments/production.yaml"
CONTENT = {name: text.encode() for name, text in FILES.items()}


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return tmp_path / "state" / "mirror.git"


@pytest.fixture
def source(origin: Origin, mirror: Path) -> GitSource:
    return GitSource(origin.url, "main", mirror)


def version(source: GitSource) -> int:
    return read_pins(source.snapshot().files).pin("production", "churn-model").version


def test_only_environment_files_at_the_top_of_the_folder_are_read(origin: Origin, source: GitSource) -> None:
    origin.commit({"environments/README.md": "hello", "environments/old/x.yaml": "x", "x.yaml": "y"})
    assert dict(source.snapshot().files) == CONTENT


def test_a_file_with_another_ending_of_yaml_is_read_so_that_it_can_be_refused(
    origin: Origin, source: GitSource
) -> None:
    origin.commit({"environments/canary.yml": "x"})
    assert source.snapshot().files == CONTENT | {"environments/canary.yml": b"x"}


def test_other_branches_and_tags_change_nothing(origin: Origin, source: GitSource, mirror: Path) -> None:
    before = source.snapshot()
    origin.branch = "experiment"
    other = origin.commit({PRODUCTION_FILE: pinned(PRODUCTION, 9)})
    git(origin.path, "tag", "v9", other)
    assert source.snapshot() == before
    assert not list((mirror / "refs" / "tags").glob("*"))


def test_hostile_ref_names_at_the_remote_never_reach_a_command(
    origin: Origin, source: GitSource, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    for name in (
        f"--upload-pack=touch${{IFS}}{marker}",
        f"$(touch${{IFS}}{marker})",
        f";touch${{IFS}}{marker}",
        "`id`",
    ):
        ref = origin.path / "refs" / "heads" / name
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(f"{origin.head()}\n")
    assert dict(source.snapshot().files) == CONTENT
    assert not marker.exists()


@pytest.mark.parametrize("name", ["", "a b", "a..b", "x~1", "x:y", "a*", "a.lock", "@{-1}", "a\nb"])
def test_a_branch_setting_that_is_no_branch_name_is_refused(origin: Origin, mirror: Path, name: str) -> None:
    with pytest.raises(Rejected, match="PINRAIL_BRANCH"):
        GitSource(origin.url, name, mirror)


def test_a_branch_that_looks_like_an_option_is_only_a_branch(tmp_path: Path, mirror: Path) -> None:
    origin = Origin(tmp_path / "odd", branch="--upload-pack=x")
    origin.commit(FILES)
    assert dict(GitSource(origin.url, origin.branch, mirror).snapshot().files) == CONTENT


def test_a_symbolic_link_is_refused_by_its_mode(origin: Origin, source: GitSource) -> None:
    target = origin.blob(b"/etc/passwd")
    origin.commit_entry(PRODUCTION_FILE, "120000", target)
    with pytest.raises(Rejected, match=r"production\.yaml: found a symbolic link"):
        source.snapshot()


def test_a_submodule_is_refused_by_its_mode(origin: Origin, source: GitSource) -> None:
    origin.commit_entry(PRODUCTION_FILE, "160000", origin.head())
    with pytest.raises(Rejected, match=r"production\.yaml: found a submodule"):
        source.snapshot()


def test_a_folder_that_is_a_link_is_refused_by_its_mode(origin: Origin, source: GitSource) -> None:
    target = origin.blob(b"/etc")
    git(origin.work, "rm", "--quiet", *FILES)
    origin.commit_entry("environments", "120000", target)
    with pytest.raises(Rejected, match="environments: found a symbolic link"):
        source.snapshot()


def test_a_file_over_64_kib_is_refused_before_it_is_read(origin: Origin, source: GitSource) -> None:
    origin.commit({PRODUCTION_FILE: b"#" * (64 * 1024 + 1)})
    with pytest.raises(Rejected, match="found 65537 bytes, allowed at most 65536"):
        source.snapshot()


def test_hooks_filters_and_the_users_configuration_never_act(
    origin: Origin, source: GitSource, mirror: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    hook = tmp_path / "hooks" / "reference-transaction"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
    hook.chmod(0o755)
    source.snapshot()
    (mirror / "hooks").symlink_to(hook.parent)
    config = tmp_path / "gitconfig"
    config.write_text(
        f"[core]\n\thooksPath = {hook.parent}\n\tsshCommand = touch {marker}\n"
        f'[filter "evil"]\n\tsmudge = touch {marker}\n[url "file:///nowhere/"]\n\tinsteadOf = file://\n'
    )
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    origin.commit({".gitattributes": "*.yaml filter=evil\n", PRODUCTION_FILE: lfs})
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.hookspath={hook.parent}'")
    assert source.snapshot().files[PRODUCTION_FILE] == lfs
    assert not marker.exists()


def test_stale_locks_after_a_crash_are_healed(origin: Origin, source: GitSource, mirror: Path) -> None:
    source.snapshot()
    for name in ("HEAD.lock", "config.lock", "packed-refs.lock", "shallow.lock", "refs/heads/main.lock"):
        (mirror / name).touch()
    origin.commit({PRODUCTION_FILE: pinned(PRODUCTION, 2)})
    assert version(source) == 2
    assert source.snapshot().stale is None
    assert not list(mirror.rglob("*.lock"))


def test_what_a_killed_fetch_left_does_not_gather(origin: Origin, source: GitSource, mirror: Path) -> None:
    source.snapshot()
    left = mirror / "objects" / "pack" / "tmp_pack_mKkQKi"
    left.write_bytes(b"half a pack")
    left.chmod(0o444)
    source.snapshot()
    assert not left.exists()


def test_locks_of_another_process_at_work_are_left_alone(
    source: GitSource, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.snapshot()
    lock = mirror / "refs" / "heads" / "main.lock"
    lock.touch()
    turn = os.open(mirror.with_name("mirror.git.turn"), os.O_RDWR)
    fcntl.flock(turn, fcntl.LOCK_EX)
    monkeypatch.setattr("receiver.adapters.git.turn.LOCK_SECONDS", 0.1)
    with pytest.raises(Retryable, match="another process"):
        source.snapshot()
    assert lock.exists()
    os.close(turn)
    assert dict(source.snapshot().files) == CONTENT


SLOW_SSH = """\
#!{python}
import os, subprocess, sys, time
with subprocess.Popen(sys.argv[-1], shell=True, stdin=0, stdout=subprocess.PIPE) as remote:
    while chunk := os.read(remote.stdout.fileno(), 16384):
        os.write(1, chunk)
        time.sleep(len(chunk) / 1_000_000)
sys.exit(remote.returncode)
"""


def test_a_push_that_is_too_large_for_one_fetch_gets_longer_ones_until_it_is_there(
    origin: Origin, tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(SLOW_SSH.format(python=sys.executable))
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
    monkeypatch.setattr("receiver.adapters.git.mirror.NETWORK_SECONDS", 0.4)
    source = GitSource(f"ssh://git@host{origin.path}", "main", mirror)
    first = source.snapshot()
    large = origin.commit({"weights.bin": os.urandom(1_200_000)})
    snapshots = [source.snapshot()]
    while snapshots[-1].stale and len(snapshots) < 8:
        snapshots.append(source.snapshot())
    assert "took longer than 0.4 s" in (snapshots[0].stale or "")
    assert (snapshots[0].commit, snapshots[-1].commit, snapshots[-1].stale) == (first.commit, large, None)


def test_many_who_look_at_once_take_turns(source: GitSource) -> None:
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(version(source))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [1] * 6


def _pack(mirror: Path) -> None:
    git(mirror, "repack", "-adq")


def _truncated_packs(mirror: Path) -> None:
    for pack in (mirror / "objects" / "pack").glob("*.pack"):
        pack.chmod(0o644)
        pack.write_bytes(pack.read_bytes()[:40])


def _no_packs(mirror: Path) -> None:
    for pack in (mirror / "objects" / "pack").iterdir():
        pack.unlink()


def _damaged_bytes(mirror: Path) -> None:
    for pack in (mirror / "objects" / "pack").glob("*.pack"):
        pack.chmod(0o644)
        data = bytearray(pack.read_bytes())
        data[20:-20] = bytes(len(data) - 40)
        pack.write_bytes(data)


def _empty_blob(mirror: Path) -> None:
    name = git(mirror, "rev-parse", "main:environments/staging.yaml")
    for pack in list((mirror / "objects" / "pack").glob("*.pack")):
        moved = pack.rename(mirror / pack.name)
        git(mirror, "unpack-objects", "-q", stdin=moved.read_bytes())
    _no_packs(mirror)
    blob = mirror / "objects" / name[:2] / name[2:]
    blob.chmod(0o644)
    blob.write_bytes(b"")


def _empty_head(mirror: Path) -> None:
    (mirror / "HEAD").write_bytes(b"")


def _empty_ref(mirror: Path) -> None:
    (mirror / "packed-refs").unlink(missing_ok=True)
    ref = mirror / "refs" / "heads" / "main"
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_bytes(b"\0" * 41)


def _bad_config(mirror: Path) -> None:
    (mirror / "config").write_bytes(b"\0[[")


DAMAGES = [_truncated_packs, _no_packs, _damaged_bytes, _empty_blob, _empty_head, _empty_ref, _bad_config]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_mirror_is_fetched_anew_and_never_read_as_files_removed(
    source: GitSource, mirror: Path, damage: object
) -> None:
    source.snapshot()
    _pack(mirror)
    assert callable(damage)
    damage(mirror)
    snapshot = source.snapshot()
    assert dict(snapshot.files) == CONTENT
    assert snapshot.stale is None
    assert not snapshot.rewritten


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_mirror_without_the_remote_is_tried_again_later(
    origin: Origin, source: GitSource, mirror: Path, damage: object
) -> None:
    source.snapshot()
    _pack(mirror)
    assert callable(damage)
    damage(mirror)
    origin.vanish()
    with pytest.raises(Retryable):
        source.snapshot()
    origin.come_back()
    assert dict(source.snapshot().files) == CONTENT


def test_rubbish_where_the_mirror_should_be_is_replaced(source: GitSource, mirror: Path) -> None:
    mirror.mkdir(parents=True)
    (mirror / "rubbish").touch()
    mirror.with_name("mirror.git.new").mkdir()
    assert dict(source.snapshot().files) == CONTENT


def test_history_that_was_rewritten_while_the_mirror_broke_is_still_said(
    origin: Origin, source: GitSource, mirror: Path
) -> None:
    first = origin.head()
    origin.commit({"x": "x"})
    source.snapshot()
    _pack(mirror)
    _no_packs(mirror)
    origin.reset(first)
    assert source.snapshot().rewritten


def test_a_revert_is_a_legitimate_way_back_and_the_head_wins_over_any_older_push(
    origin: Origin, source: GitSource
) -> None:
    origin.commit({PRODUCTION_FILE: pinned(PRODUCTION, 2)})
    assert version(source) == 2
    origin.commit({PRODUCTION_FILE: PRODUCTION})
    assert version(source) == 1
    assert not source.snapshot().rewritten


def test_a_branch_that_comes_back_is_followed_again(origin: Origin, source: GitSource) -> None:
    source.snapshot()
    origin.delete_branch()
    with pytest.raises(Rejected, match="has no branch 'main'"):
        source.snapshot()
    origin.push()
    assert dict(source.snapshot().files) == CONTENT


def test_a_branch_with_the_same_ending_is_not_the_branch(tmp_path: Path, mirror: Path) -> None:
    origin = Origin(tmp_path / "odd", branch="other/refs/heads/main")
    origin.commit({"environments/staging.yaml": STAGING})
    with pytest.raises(Rejected, match="has no branch 'main'"):
        GitSource(origin.url, "main", mirror).snapshot()


def test_a_pull_requests_head_is_read_as_data_and_let_go(origin: Origin, source: GitSource, mirror: Path) -> None:
    origin.branch = "contribution"
    proposed = origin.commit({PRODUCTION_FILE: pinned(PRODUCTION, 2)})
    git(origin.path, "update-ref", "refs/pull/7/head", proposed)
    before = source.snapshot()
    snapshot = source.pull_request(7)
    assert snapshot.commit == proposed
    assert snapshot.files[PRODUCTION_FILE] == pinned(PRODUCTION, 2).encode()
    assert git(mirror, "for-each-ref", "--format=%(refname)") == "refs/heads/main"
    assert source.snapshot() == before


@pytest.mark.parametrize("filters", [True, False], ids=["a remote that filters", "one that does not"])
def test_large_files_of_a_pull_request_are_not_fetched_where_the_remote_can_leave_them_out(
    origin: Origin, source: GitSource, mirror: Path, filters: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(origin.path, "config", "uploadpack.allowFilter", str(filters).lower())
    source.snapshot()
    before = bytes_below(mirror.parent)
    origin.branch = "contribution"
    large = os.urandom(4 << 20)
    proposed = origin.commit({PRODUCTION_FILE: pinned(PRODUCTION, 2), "large": large, "environments/data.bin": large})
    git(origin.path, "update-ref", "refs/pull/7/head", proposed)
    sizes = []

    def read(*arguments: Any, **named: Any) -> dict[str, bytes]:
        sizes.append(bytes_below(mirror.parent))
        return read_files(*arguments, **named)

    monkeypatch.setattr("receiver.adapters.git.merge.read_files", read)
    snapshot = source.pull_request(7)
    assert snapshot.files[PRODUCTION_FILE] == pinned(PRODUCTION, 2).encode()
    assert (sizes[0] - before < 1 << 20) is filters
    assert bytes_below(mirror.parent) - before < 1 << 16, "nothing of it is kept"
    assert "promisor" not in (mirror / "config").read_text()


@pytest.mark.parametrize("filters", [True, False])
def test_an_environment_file_that_was_too_large_to_fetch_is_refused(
    origin: Origin, source: GitSource, filters: bool
) -> None:
    git(origin.path, "config", "uploadpack.allowFilter", str(filters).lower())
    origin.branch = "contribution"
    proposed = origin.commit({PRODUCTION_FILE: b"#" * (2 << 20)})
    git(origin.path, "update-ref", "refs/pull/7/head", proposed)
    found = "more than 131072" if filters else str(2 << 20)
    with pytest.raises(InvalidPins, match=f"production.yaml: found {found} bytes, allowed at most 65536"):
        source.pull_request(7)


def test_a_pull_request_can_be_the_first_thing_that_is_read(origin: Origin, source: GitSource) -> None:
    git(origin.path, "update-ref", "refs/pull/7/head", origin.head())
    assert dict(source.pull_request(7).files) == CONTENT


def test_a_pull_request_with_a_symbolic_link_is_refused(origin: Origin, source: GitSource) -> None:
    origin.branch = "contribution"
    malformed = origin.commit_entry(PRODUCTION_FILE, "120000", origin.blob(b"/etc/passwd"))
    git(origin.path, "update-ref", "refs/pull/7/head", malformed)
    with pytest.raises(Rejected, match="symbolic link"):
        source.pull_request(7)


def test_a_pull_request_that_is_not_there_is_distinguished_from_a_remote_that_is_not_there(
    origin: Origin, source: GitSource
) -> None:
    with pytest.raises(Retryable, match="no pull request 7"):
        source.pull_request(7)
    origin.vanish()
    with pytest.raises(Retryable, match="git ls-remote"):
        source.pull_request(7)


def test_a_repository_that_is_not_there_is_named_with_its_setting(tmp_path: Path) -> None:
    source = GitSource(f"file://{tmp_path}/nowhere.git", "main", tmp_path / "mirror.git")
    with pytest.raises(
        Retryable, match=rf"^PINRAIL_REPO_URL: file://{tmp_path}/nowhere.git cannot be read: .*not appear"
    ):
        source.snapshot()


def test_a_shallow_remote_is_refused_with_how_to_make_it_whole(origin: Origin, mirror: Path, tmp_path: Path) -> None:
    origin.commit({"README": "more"})
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", "--bare", origin.url, str(shallow))
    source = GitSource(f"file://{shallow}", "main", mirror)
    with pytest.raises(Rejected, match=r"shallow clone.*`git fetch --unshallow`.*or set PINRAIL_REPO_URL"):
        source.snapshot()
    git(shallow, "fetch", "--quiet", "--unshallow", origin.url)
    assert source.snapshot().commit == origin.head()


def test_a_remote_that_becomes_shallow_is_not_taken_for_an_unchanged_one(
    origin: Origin, source: GitSource, tmp_path: Path
) -> None:
    source.snapshot()
    for number in range(2):
        origin.commit({"README": f"more {number}"})
    git(tmp_path, "clone", "--quiet", "--depth=1", "--bare", origin.url, str(tmp_path / "shallow"))
    shutil.rmtree(origin.path)
    (tmp_path / "shallow").rename(origin.path)
    with pytest.raises(Rejected, match="shallow clone"):
        source.snapshot()
