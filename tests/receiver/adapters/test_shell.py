"""Starting programs: nothing leaks in, nothing hangs, nothing stays."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from receiver.adapters import shell
from receiver.core.errors import Rejected, Retryable
from tests.support.waiting import eventually


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_program_s_output_and_status_come_back() -> None:
    code = "import sys; print(sys.stdin.read()); print('é', file=sys.stderr); sys.exit(3)"
    output = shell.run(python(code), environment={}, timeout=10, stdin=b"hello")
    assert (output.status, output.stdout, output.stderr) == (3, "hello\n", "é\n")


def test_a_slow_program_that_may_be_stopped_gets_all_of_its_input() -> None:
    code = "import sys, time; time.sleep(0.5); print(len(sys.stdin.read()))"
    output = shell.run(python(code), environment={}, timeout=10, stdin=b"x" * 300_000, stop=threading.Event())
    assert output.stdout == "300000\n"


def test_only_the_given_environment_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "sentinel")
    output = shell.run(python("import os; print(dict(os.environ))"), environment={"HOME": "/h"}, timeout=10)
    assert "sentinel" not in output.stdout
    assert "'HOME': '/h'" in output.stdout


def test_scrubbing_keeps_the_common_names_and_the_wanted_prefixes() -> None:
    environment = {
        "PATH": "/bin",
        "HOME": "/h",
        "MLFLOW_TRACKING_URI": "u",
        "OMP_NUM_THREADS": "1",
        "GITHUB_TOKEN": "t",
        "PINRAIL_WEBHOOK_SECRET": "s",
        "AWS_SECRET_ACCESS_KEY": "k",
        "LD_PRELOAD": "x",
        "PYTHONPATH": "x",
        "DOCKER_HOST": "d",
    }
    assert shell.scrubbed(environment) == {"PATH": "/bin", "HOME": "/h"}
    assert set(shell.scrubbed(environment, *shell.DOCKER)) == {"PATH", "HOME", "DOCKER_HOST"}


def test_no_shell_looks_at_the_arguments(tmp_path: Path) -> None:
    output = shell.run(
        [*python("import sys; print(sys.argv[1])"), f"$(touch {tmp_path}/x); `id`"], environment={}, timeout=10
    )
    assert output.stdout.startswith("$(touch")
    assert list(tmp_path.iterdir()) == []


def test_a_program_holds_what_it_was_given_to_keep_and_nothing_else(tmp_path: Path) -> None:
    with (tmp_path / "kept").open("w") as kept, (tmp_path / "not").open("w") as other:
        os.set_inheritable(other.fileno(), True)
        code = (
            "import os, sys\n"
            "for fd in sys.argv[1:]:\n"
            "    try: print(os.fstat(int(fd)).st_size >= 0)\n"
            "    except OSError: print('closed')"
        )
        argv = [*python(code), str(kept.fileno()), str(other.fileno())]
        output = shell.run(argv, environment={}, timeout=10, keep=[kept.fileno()])
    assert output.stdout == "True\nclosed\n"


def test_a_program_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, pathlib, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))\n"
        "time.sleep(600)"
    )
    began = time.monotonic()
    with pytest.raises(Retryable, match="did not end within 1 s"):
        shell.run(python(code), environment={}, timeout=1)
    assert time.monotonic() - began < 5
    child = int((tmp_path / "child").read_text())
    eventually(lambda: not _exists(child))


def test_a_program_that_is_not_there_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="cannot start `no-such-program`"):
        shell.run(["no-such-program"], environment={}, timeout=1)
    with pytest.raises(Rejected, match="cannot start `no-such-program`"):
        shell.start(["no-such-program"], environment={}, directory=tmp_path, log=tmp_path / "log")


def test_a_started_program_has_its_own_session_and_log_and_its_end_is_known(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getsid(0) == os.getpid(), flush=True); sys.exit(4)"
    pid = shell.start(python(code), environment={}, directory=tmp_path, log=tmp_path / "log")
    eventually(lambda: shell.exit_status(pid) is not None)
    assert shell.exit_status(pid) == shell.exit_status(pid) == 4
    assert (tmp_path / "log").read_text() == "True\n"


def test_the_signal_that_ended_a_program_is_reported(tmp_path: Path) -> None:
    pid = shell.start(
        python("import time; time.sleep(600)"), environment={}, directory=tmp_path, log=tmp_path / "log"
    )
    assert shell.exit_status(pid) is None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: shell.exit_status(pid) == -signal.SIGKILL)


def test_how_a_program_of_another_process_ended_is_not_known() -> None:
    assert shell.exit_status(os.getppid()) is None


def _exists(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def streamed(script: str, pause: float = 5.0) -> list[str | None]:
    return list(shell.stream(["sh", "-c", script], environment={"PATH": os.environ["PATH"]}, pause=pause))


def test_lines_come_as_they_are_written_and_pauses_show() -> None:
    assert streamed("echo one; echo two >&2; printf 'no end'") == ["one", "two", "no end"]
    lines = shell.stream(["sh", "-c", "echo one; sleep 600"], environment={"PATH": os.environ["PATH"]}, pause=0.05)
    assert next(lines) == "one"
    assert next(lines) is None
    lines.close()  # type: ignore[attr-defined]


def test_a_line_without_an_end_comes_in_pieces() -> None:
    found = streamed("head -c 3000000 /dev/zero | tr '\\0' x")
    assert len(found) > 1
    assert sum(len(piece or "") for piece in found) == 3_000_000


def test_what_is_not_installed_cannot_be_streamed() -> None:
    with pytest.raises(Rejected, match="cannot start `no-such-program`"):
        next(shell.stream(["no-such-program"], environment={}, pause=1.0))
