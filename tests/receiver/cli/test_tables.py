"""Tables: whole wherever they are shown. What has no room beside stands beneath."""

import re

import pytest

from receiver.cli.tables import layout

HEADER = ("environment", "state", "pin", "reason")
ROWS = [
    ("staging", "rolled-back", "v3", "0.5 s after it got traffic: status 500"),
    ("production", "in sync", "v2", ""),
]


def test_a_table_with_room_has_a_line_per_row_and_no_space_at_the_end() -> None:
    assert layout(HEADER, ROWS, 120).splitlines() == [
        "environment  state        pin  reason",
        "staging      rolled-back  v3   0.5 s after it got traffic: status 500",
        "production   in sync      v2",
    ]


def test_a_long_last_column_goes_beneath_and_is_whole() -> None:
    assert layout(HEADER, ROWS, 40).splitlines() == [
        "environment  state        pin",
        "staging      rolled-back  v3",
        "    0.5 s after it got traffic: status",
        "    500",
        "production   in sync      v2",
    ]


def test_where_not_even_the_short_columns_fit_they_go_beneath_with_their_names() -> None:
    assert layout(HEADER, ROWS, 26).splitlines() == [
        "environment  state",
        "staging      rolled-back",
        "    pin v3",
        "    0.5 s after it got",
        "    traffic: status 500",
        "production   in sync",
        "    pin v2",
    ]


@pytest.mark.parametrize("width", [1, 12, 30, 79, 80, None])
def test_nothing_is_lost_at_any_width(width: int | None) -> None:
    shown = "".join(layout(HEADER, ROWS, width).split())
    for cell in (cell for row in ROWS for cell in row):
        assert cell.replace(" ", "") in shown


def test_a_cell_of_several_lines_keeps_them() -> None:
    assert layout(("model", "metrics"), [("churn", "accuracy 0.80\nf1 0.61")], None).splitlines() == [
        "model  metrics",
        "churn  accuracy 0.80",
        "       f1 0.61",
    ]


def test_what_acts_on_a_terminal_is_taken_out() -> None:
    assert layout(("a",), [("\x1b[31mred",)], 80).splitlines() == ["a", "red"]


def test_states_are_coloured_and_widths_are_not_changed_by_it() -> None:
    plain, coloured = (layout(HEADER, ROWS, 120, coloured=on) for on in (False, True))
    assert "\x1b[31mrolled-back\x1b[0m  v3" in coloured
    assert "\x1b[32min sync\x1b[0m      v2" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain
