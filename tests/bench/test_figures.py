import pytest

from tests.bench.figures import at_least, at_most, chart, goals, number, ratio, table


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7512.4, "7,512"), (40.26, "40.3"), (130, "130"), (0.125, "0.125"), (0.00444, "0.00444"), (1.0, "1")],
)
def test_numbers_show_three_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_a_ratio_with_a_side_missing_is_missing() -> None:
    assert ratio(6.0, 2.0) == 3.0
    assert ratio(None, 2.0) is None
    assert ratio(6.0, None) is None
    assert ratio(6.0, 0.0) is None


def test_goals_are_met_at_their_bounds() -> None:
    assert [at_least("a", 130, m).met for m in (129.9, 130, 131)] == [False, True, True]
    assert [at_most("a", 0, m, "").met for m in (0, 1)] == [True, False]


def test_a_goal_that_could_not_be_measured_is_neither_met_nor_missed() -> None:
    said = goals([at_most("cold start", 0.125, None, "x")])
    assert "not measured" in said
    assert said.splitlines()[-1].split()[-2] == "?"


def test_tables_line_up() -> None:
    lines = table(("server", "/s"), [("Pinrail", "7,500"), ("a much longer name", "4")]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].endswith("-: |")


def test_bars_are_as_long_as_their_share_of_the_longest() -> None:
    lines = chart({"peer": 1.0, "half": 50.0, "whole": 100.0}, "/s").splitlines()[1:-1]
    assert [line.split()[0] for line in lines] == ["whole", "half", "peer"]
    assert [line.count("█") for line in lines] == [46, 23, 1]
