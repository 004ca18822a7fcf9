"""How many threads onnxruntime gets: one, unless the pin asks for several processors."""

import pytest

from serving.lifecycle import launch
from serving.model.runtimes import onnx


@pytest.mark.parametrize(("said", "threads"), [(None, 1), ("3", 3), ("0", 1), ("many", 1), ("", 1)])
def test_threads_follow_the_launch(monkeypatch: pytest.MonkeyPatch, said: str | None, threads: int) -> None:
    monkeypatch.delenv("ORT_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("ORT_NUM_THREADS", said)
    assert onnx._options().intra_op_num_threads == threads


@pytest.mark.parametrize(("cpus", "threads"), [(0.5, "1"), (1.0, "1"), (1.9, "1"), (4.0, "4")])
def test_numbers_of_threads_follow_the_processors_beside_the_pin(cpus: float, threads: str) -> None:
    said = launch.thread_settings({"OMP_NUM_THREADS": "8", "HOME": "/"}, cpus)
    assert said == dict.fromkeys(launch.NUMBERS_OF_THREADS, threads)
    assert launch.thread_settings({"OMP_NUM_THREADS": "8", "HOME": "/"}) == {"OMP_NUM_THREADS": "8"}
