"""What is done after a look: never at its expense."""

import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from receiver.core.errors import Rejected, Retryable
from receiver.daemon.wiring import build_background_tasks
from receiver.reconciler.background import BackgroundTask
from receiver.settings import Settings
from tests.support.flow import Flow
from tests.support.running_controller import running
from tests.support.waiting import eventually


class Task:
    """Counts how often it is done, and does what it is told."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.answers: list[float | Exception] = []

    def __call__(self, stop: threading.Event) -> float:
        self.times.append(time.monotonic())
        answer = self.answers.pop(0) if self.answers else math.inf
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_it_is_done_when_woken_and_not_before() -> None:
    task = Task()
    background = BackgroundTask("task", task)
    background.start()
    assert task.times == []
    background.wake()
    eventually(lambda: len(task.times) == 1)
    background.wake()
    eventually(lambda: len(task.times) == 2)
    background.stop()
    background.wake()
    assert len(task.times) == 2


def test_waking_never_waits_for_the_task() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang(_: threading.Event) -> float:
        begun.set()
        go_on.wait(10)
        return math.inf

    background = BackgroundTask("hanging", hang)
    background.start()
    background.wake()
    assert begun.wait(10)
    start = time.monotonic()
    for _ in range(1000):
        background.wake()
    assert time.monotonic() - start < 1
    go_on.set()
    background.stop()


def test_it_is_done_again_at_the_time_that_it_named() -> None:
    task = Task()
    named = time.time() + 0.3
    task.answers.append(named)
    background = BackgroundTask("task", task)
    background.start()
    background.wake()
    eventually(lambda: len(task.times) == 2)
    assert time.time() >= named - 0.01
    background.stop()


def test_a_required_wait_counts_more_than_being_woken() -> None:
    task = Task()
    task.answers.append(Retryable("rate limited", 0.3))
    background = BackgroundTask("task", task)
    background.start()
    background.wake()
    eventually(lambda: len(task.times) == 1)
    background.wake()
    eventually(lambda: len(task.times) == 2)
    background.stop()
    assert task.times[1] - task.times[0] >= 0.3


def test_what_could_not_be_done_is_tried_again_unasked() -> None:
    task = Task()
    task.answers.append(Retryable("GitHub is away", 0.05))
    background = BackgroundTask("task", task)
    background.start()
    background.wake()
    eventually(lambda: len(task.times) == 2)
    background.stop()


@pytest.mark.parametrize("error", [Rejected("no"), ValueError("a bug")])
def test_no_error_ends_it(error: Exception) -> None:
    task = Task()
    task.answers += [error, error]
    background = BackgroundTask("task", task)
    background.start()
    for times in (1, 2, 3):
        background.wake()
        eventually(lambda times=times: len(task.times) == times)  # type: ignore[misc]
    background.stop()


@pytest.mark.parametrize("valid", [True, False], ids=["after a fetch", "after one that failed"])
def test_it_is_woken_after_every_job(tmp_path: Path, *, valid: bool) -> None:
    flow = Flow(tmp_path)
    flow.register(1)
    if valid:
        flow.pin(staging=1)
    else:
        flow.source.commit({"environments/staging.yaml": b"environment: ["})
    task = Task()
    background = BackgroundTask("task", task)
    background.start()
    with running(flow, after=[background]) as work:
        eventually(lambda: flow.serving()["staging"] == (1 if valid else None) and len(task.times) >= 1)
        before = len(task.times)
        work.queue.enqueue("pull_request")
        eventually(lambda: len(task.times) > before)
    background.stop()


@pytest.mark.parametrize(
    ("changes", "on_github"),
    [
        ({"github_token": None}, []),
        ({}, ["plans", "candidates"]),
        ({"pinrail_candidates": False}, ["plans"]),
        ({"pinrail_repo_url": "nowhere"}, []),
    ],
)
def test_without_a_token_or_a_repository_there_are_none_for_github(
    tmp_path: Path, changes: dict[str, Any], on_github: list[str]
) -> None:
    always = [
        "housekeeping",
        "logs",
        "inference logs",
        "live versions",
        "drift",
        "ways back",
        "version pages",
        "mirrors",
    ]
    given = {"github_token": "t", "pinrail_repo_url": "https://github.com/octo/pins", **changes}
    settings = Settings(pinrail_state_dir=tmp_path, **given)
    threads = [background._thread.name for background in build_background_tasks(settings, Flow(tmp_path).services)]
    assert threads == [*always, *on_github]
