"""A signal ends the receiver whichever of its threads the kernel gives it to."""

import subprocess
import sys

import pytest

PROGRAM = """
import signal, sys, threading
from receiver.daemon.signals import ShutdownSignal
shutdown = ShutdownSignal()
threading.Thread(target=threading.Event().wait, name="other", daemon=True).start()
other = next(thread for thread in threading.enumerate() if thread.name == "other")
{deliver}
shutdown.wait()
print("told")
"""
AT_ONCE = "signal.pthread_kill({thread}.ident, signal.{number})"
AGAIN = """
shutdown.end_at_the_next()
signal.raise_signal(signal.SIGHUP)
signal.raise_signal(signal.{number})
threading.Event().wait()
"""
LATER = "threading.Timer(0.3, lambda: signal.pthread_kill({thread}.ident, signal.{number})).start()"


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP"])
@pytest.mark.parametrize("thread", ["other", "threading.main_thread()"])
@pytest.mark.parametrize("deliver", [AT_ONCE, LATER])
def test_a_signal_to_any_thread_is_heard_before_and_while_it_is_waited_for(
    deliver: str, thread: str, number: str
) -> None:
    program = PROGRAM.format(deliver=deliver.format(thread=thread, number=number))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "told\n"


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_second_signal_ends_at_once_what_the_first_lets_finish(number: str) -> None:
    program = PROGRAM.format(deliver=AT_ONCE.format(thread="other", number=number)) + AGAIN.format(number=number)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 130
    assert "stopping at once" in done.stderr
