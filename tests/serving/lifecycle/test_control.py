"""The control socket: who may open it, what it says to nonsense, and that descriptors arrive and none is lost."""

import asyncio
import contextlib
import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.lifecycle import control
from serving.lifecycle.control import ControlError, Reply, ask


async def echo(request: dict[str, Any], fds: list[int]) -> Reply:
    if request["do"] == "refuse":
        raise ControlError("not today")
    if request["do"] == "hang":
        await asyncio.sleep(60)
    return Reply({"heard": request, "fds": len(fds)}, fds, then=lambda: [os.close(fd) for fd in fds] and None)


@contextlib.contextmanager
def serving_at(path: Path, handler: control.Handler = echo) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    listening = control.listen(path)
    task = loop.create_task(control.serve(listening, handler))

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        for left in asyncio.all_tasks(loop):
            left.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(left)
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(5)
        listening.close()


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with serving_at(tmp_path / "control.sock"):
        yield tmp_path / "control.sock"


def test_who_listens_is_this_users_and_the_process_that_it_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def imitate(request: dict[str, Any], _: list[int]) -> Reply:
        return Reply({"pid": request["pid"]})

    with serving_at(path.with_name("imitation.sock"), imitate):
        assert ask(path.with_name("imitation.sock"), {"pid": os.getpid()})[0] == {"pid": os.getpid()}
        with pytest.raises(ControlError, match=f"says that it is process 1, and is process {os.getpid()}"):
            ask(path.with_name("imitation.sock"), {"pid": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(ControlError, match=f"is user {os.getuid()}'s"):
            ask(path, {"do": "echo"})
    ask(path, {"do": "echo"})


def test_a_question_is_answered(path: Path) -> None:
    assert ask(path, {"do": "echo", "text": "é"}) == ({"heard": {"do": "echo", "text": "é"}, "fds": 0}, [])


def test_only_its_owner_can_open_it(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_descriptors_go_there_and_come_back(path: Path) -> None:
    read, write = os.pipe()
    body, fds = ask(path, {"do": "echo"}, fds=[write])
    os.close(write)
    assert body["fds"] == 1
    os.write(fds[0], b"through")
    os.close(fds[0])
    assert os.read(read, 100) == b"through"
    assert os.read(read, 100) == b"", "nobody kept a copy"
    os.close(read)


def test_as_many_descriptors_as_promised_fit_into_one_question(path: Path) -> None:
    read, write = os.pipe()
    body, fds = ask(path, {"do": "echo"}, fds=[write] * control.MAX_FDS)
    assert body["fds"] == len(fds) == control.MAX_FDS
    for fd in (*fds, read, write):
        os.close(fd)


def test_a_refusal_is_an_error_and_closes_what_came_with_the_question(path: Path) -> None:
    read, write = os.pipe()
    with pytest.raises(ControlError, match="not today"):
        ask(path, {"do": "refuse"}, fds=[write])
    os.close(write)
    assert os.read(read, 100) == b""
    os.close(read)


@pytest.mark.parametrize("line", [b"\n", b"{\n", b"[]\n", b'"status"\n', b"\xff\n", b"{}\n"])
def test_nonsense_is_refused_and_the_next_question_is_answered(path: Path, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(line)
        assert "error" in json.loads(connection.recv(65536))
    assert ask(path, {"do": "echo"})[0]["fds"] == 0


def test_who_hangs_up_without_a_word_disturbs_nobody(path: Path) -> None:
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
    assert ask(path, {"do": "echo"})[0]["fds"] == 0


def test_no_answer_is_a_timeout(path: Path) -> None:
    with pytest.raises(TimeoutError):
        ask(path, {"do": "hang"}, timeout=0.1)


def test_nobody_there_is_distinguished_from_no_answer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ask(tmp_path / "nobody.sock", {"do": "echo"})
    control.listen(tmp_path / "left.sock").close()
    with pytest.raises(ConnectionRefusedError):
        ask(tmp_path / "left.sock", {"do": "echo"})


def test_a_path_that_is_too_long_for_an_address_works_and_leaves_nothing_behind(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path_factory.mktemp("t")  # a short name: the address has to fit
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with serving_at(deep / "control.sock"):
        assert ask(deep / "control.sock", {"do": "echo"})[0]["fds"] == 0
    assert list(scratch.iterdir()) == []
