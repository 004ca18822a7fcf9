import pytest

from tests.bench.wrk import BenchError, parse

LINE = '{"requests": 300, "seconds": 2.000000, "p50_ms": 1.5000, "p99_ms": 4.2500, "failed": 0}'


def test_the_result_is_found_among_what_wrk_prints_for_people() -> None:
    load = parse(f"Running 2s test @ http://127.0.0.1:1/\n  300 requests in 2.00s\n{LINE}\n")
    assert (load.per_second, load.p99_ms) == (150.0, 4.25)


def test_a_run_with_a_failed_request_is_no_result() -> None:
    with pytest.raises(BenchError, match="of 303 requests, 3 failed"):
        parse(LINE.replace('"failed": 0', '"failed": 3'))


def test_a_run_without_an_answer_is_no_result() -> None:
    with pytest.raises(BenchError, match="of 0 requests"):
        parse(LINE.replace("300", "0"))


def test_what_wrk_complains_of_is_repeated() -> None:
    with pytest.raises(BenchError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1 Connection refused\n")
