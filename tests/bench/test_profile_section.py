import pytest

from tests.bench.profile_section import LOOP, STAGES, shares, stage
from tests.bench.wrk import BenchError

OUTER = ["main (serving/__main__.py:28)", "run (asyncio/runners.py:118)"]
HTTP = [*OUTER, "run_asgi (uvicorn/protocols/http/httptools_impl.py:422)", "__call__ (serving/http/endpoint.py:57)"]


@pytest.mark.parametrize(
    ("frames", "name"),
    [
        (OUTER, LOOP),
        (HTTP, "HTTP, and the kernel's part of writing"),
        ([*HTTP, "decode (serving/protocols/predict.py:21)"], "read and check the request"),
        ([*HTTP, "decode (serving/model/decoder.py:60)", "decode (json/decoder.py:3)"], "read and check the request"),
        ([*HTTP, "encode (serving/protocols/predict.py:25)"], "write the answer"),
        ([*HTTP, "predict (serving/batcher.py:90)"], "queue"),
        ([*HTTP, "_turn (serving/batcher.py:115)", "predict (serving/model/predictor.py:57)"], "ask the model"),
        ([*HTTP, "_predict_pieces (serving/batcher.py:1)", "run (onnxruntime/capi/x.py:2)"], "ask the model"),
        ([*HTTP, "batch (serving/metrics.py:91)", "_sum (numpy/_core/_methods.py:49)"], "count for /metrics"),
    ],
)
def test_a_sample_belongs_to_the_innermost_function_that_a_stage_claims(frames: list[str], name: str) -> None:
    assert stage(frames) == name


def test_another_threads_samples_are_left_out_and_shares_are_of_the_rest() -> None:
    inside = ";".join(HTTP)
    seen = f"_bootstrap (threading.py:1);select (selectors.py:2) 900\n{inside} 300\n{';'.join(OUTER)} 100\n"
    found = shares(seen)
    assert (found["HTTP, and the kernel's part of writing"], found[LOOP]) == (0.75, 0.25)
    assert sum(found.values()) == 1
    assert set(found) == set(STAGES)


def test_a_profile_of_next_to_nothing_is_none() -> None:
    with pytest.raises(BenchError, match="only 3 times"):
        shares(f"{';'.join(OUTER)} 3\n")
