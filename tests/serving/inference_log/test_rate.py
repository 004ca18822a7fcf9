"""How many requests may be recorded."""

from serving.inference_log.rate import RateLimit


def test_so_many_are_allowed_at_once_and_then_so_many_per_second() -> None:
    limit = RateLimit(10, 100.0)
    assert sum(limit.allows(1, 100.0) for _ in range(50)) == 10
    assert sum(limit.allows(1, 100.0 + tick / 100) for tick in range(1, 301)) in {29, 30}


def test_a_pause_allows_no_more_than_a_second_of_requests() -> None:
    limit = RateLimit(10, 100.0)
    assert limit.allows(10, 100.0)
    assert sum(limit.allows(1, 200.0) for _ in range(50)) == 10


def test_a_costly_request_is_allowed_and_made_up_for() -> None:
    limit = RateLimit(10, 100.0)
    assert limit.allows(35, 100.0)
    assert not any(limit.allows(1, 100.0 + tick / 10) for tick in range(1, 25))
    assert limit.allows(1, 103.0)


def test_a_clock_that_is_set_back_ends_nothing() -> None:
    limit = RateLimit(10, 100.0)
    assert limit.allows(10, 100.0)
    assert not limit.allows(1, 50.0)
    assert limit.allows(1, 50.2)
