import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.backoff import Backoff


def test_it_doubles_from_the_first_wait_to_the_longest() -> None:
    backoff = Backoff(5.0, 60.0)
    assert [backoff.after(attempts) for attempts in range(1, 7)] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


@given(st.floats(0.01, 1e3), st.floats(1.0, 1e3), st.integers(1, 10**9))
def test_it_never_shrinks_and_stays_within_its_bounds(first: float, factor: float, attempts: int) -> None:
    backoff = Backoff(first, first * factor)
    assert first <= backoff.after(attempts) <= backoff.after(attempts + 1) <= first * factor


@pytest.mark.parametrize("attempts", [0, -1])
def test_there_is_nothing_to_wait_for_before_an_attempt_has_failed(attempts: int) -> None:
    with pytest.raises(ValueError, match=f"found {attempts}, at least 1"):
        Backoff(5.0, 60.0).after(attempts)
