"""Limits by control groups: on this machine's kernel where it lets us, and on a made-up tree of version 2."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.adapters.cgroups import Cgroups, Kernel
from receiver.core.errors import Rejected

EATS = "import sys; sys.stdin.read(1); eaten = []\nwhile True: eaten.append(bytearray(1 << 20))"


@pytest.fixture
def groups(tmp_path: Path) -> Iterator[Cgroups]:
    found = Cgroups(tmp_path)
    if refusal := found.refusal():
        pytest.skip(refusal)
    yield found
    found.remove(keep=[])
    for tree in found._below():
        tree.rmdir()


def test_a_process_that_needs_more_memory_is_ended_and_that_is_known(groups: Cgroups) -> None:
    with subprocess.Popen([sys.executable, "-c", EATS], stdin=subprocess.PIPE) as process:
        groups.confine("s", process.pid, 0.5, 100)
        assert not groups.ran_out_of_memory("s")
        process.communicate(b"x")
    assert process.returncode == -9
    assert groups.ran_out_of_memory("s")
    assert not groups.ran_out_of_memory("another")
    groups.remove(["s"])
    assert groups._found("s") == []


def test_a_process_belongs_to_its_group_in_both_trees(groups: Cgroups) -> None:
    with subprocess.Popen([sys.executable, "-c", EATS], stdin=subprocess.PIPE) as process:
        groups.confine("s", process.pid, 1.5, 0)
        shown = Path(f"/proc/{process.pid}/cgroup").read_text()
        groups.remove(["s"])
        assert len(groups._found("s")) == shown.count("/s\n"), "what is in use stays"
        process.kill()
    assert shown.count(f"{groups._name}/s\n") >= 1


def version_2(root: Path, own: str, controllers: str = "cpu memory pids") -> Kernel:
    """A tree whose own group is below a delegated one."""
    place = root / own.lstrip("/")
    place.mkdir(parents=True)
    (place / "cgroup.controllers").write_text(controllers)
    for group in (place.parent, place):
        (group / "cgroup.subtree_control").write_text("")
    (root.parent / "mountinfo").write_text(f"30 20 0:26 / {root} rw shared:4 - cgroup2 cgroup2 rw\n")
    (root.parent / "own").write_text(f"0::{own}\n")
    return Kernel(root.parent / "mountinfo", root.parent / "own")


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """The receiver's own group has processes, so the kernel lets it hand nothing on; its parent has none."""
    found = version_2(tmp_path / "cgroup", "/pinrail.service/receiver")
    control = tmp_path / "cgroup/pinrail.service/receiver/cgroup.subtree_control"
    control.unlink()
    control.mkdir()  # cannot be written, by root neither
    return found


def test_with_version_2_groups_are_made_beside_the_receivers_own(kernel: Kernel, tmp_path: Path) -> None:
    groups = Cgroups(tmp_path, kernel)
    assert groups.refusal() == ""
    tree = tmp_path / "cgroup/pinrail.service" / groups._name
    assert (tree / "cgroup.subtree_control").read_text() == "+cpu +memory"
    (tree / "s").mkdir()
    for name in ("cpu.max", "memory.max", "memory.swap.max"):  # the kernel makes them
        (tree / "s" / name).write_text("")
    groups.confine("s", 4711, 1.5, 512)
    assert (tree / "s/cpu.max").read_text() == "150000 100000"
    assert (tree / "s/memory.max").read_text() == str(512 << 20)
    assert (tree / "s/memory.swap.max").read_text() == "0"
    assert (tree / "s/cgroup.procs").read_text() == "4711"
    (tree / "s/memory.events").write_text("oom 1\noom_kill 1\n")
    assert groups.ran_out_of_memory("s")


def test_where_nothing_is_delegated_the_refusal_says_what_to_do(tmp_path: Path) -> None:
    kernel = version_2(tmp_path / "cgroup", "/user.slice/session", controllers="pids")
    groups = Cgroups(tmp_path, kernel)
    assert "no control group with cpu and memory" in groups.refusal()
    assert "Delegate=yes" in groups.refusal()
    with pytest.raises(Rejected, match="cannot be set for s"):
        groups.confine("s", 1, 1, 100)


def test_a_system_without_control_groups_is_refused(tmp_path: Path) -> None:
    groups = Cgroups(tmp_path, Kernel(tmp_path / "none", tmp_path / "none"))
    assert "may not set limits" in groups.refusal()
    assert not groups.ran_out_of_memory("s")
    groups.remove(keep=[])
