"""``pinrail status --watch``: where nobody draws, a line for each change and none for what stays."""

from dataclasses import replace

import pytest

from receiver.admin.views import EnvironmentsView
from receiver.cli.commands.status_watch import draw, show_changes, show_json
from receiver.planning.status import SlotStatus

ROW = SlotStatus("staging", "churn", 6, 6, None, 5, "deploying", "v6 is being deployed", None, None, None)
VIEW = EnvironmentsView("1f" * 20, None, None, [ROW], [ROW], [], [], [])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line[9:] for line in capsys.readouterr().out.splitlines()]


def test_each_change_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show = show_changes()
    show(VIEW, "")
    show(VIEW, "")
    assert lines(capsys) == ["staging/churn deploying: pin v6, server v5; v6 is being deployed"]
    live = replace(ROW, serving_version=6, state="in sync", reason="")
    show(replace(VIEW, environments=[live], problem="git does not answer"), "no receiver runs")
    assert lines(capsys) == [
        "problem: git does not answer",
        "receiver: no receiver runs",
        "staging/churn in sync: pin v6, server v6",
    ]
    show(replace(VIEW, environments=[]), "")
    assert lines(capsys) == [
        "problem: over",
        "receiver: over",
        "staging/churn is neither pinned nor served any more",
    ]


def test_as_json_it_is_a_document_per_change(capsys: pytest.CaptureFixture[str]) -> None:
    show = show_json()
    for view in (VIEW, VIEW, replace(VIEW, stale="no network")):
        show(view, "")
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_terminal_that_is_too_low_says_what_it_hides(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", "10")
    monkeypatch.setenv("COLUMNS", "100")
    rows = [replace(ROW, model=f"model-{number}") for number in range(30)]
    draw(replace(VIEW, environments=rows), "")
    drawn = capsys.readouterr().out.splitlines()
    assert len(drawn) == 9
    assert drawn[-1] == "… 24 more lines: make the terminal higher"
