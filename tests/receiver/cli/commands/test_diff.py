"""What differs between two environments, and between one's pins and what serves."""

from dataclasses import replace

from receiver.cli.commands.diff import VersionDifference, between, within_one
from receiver.planning.status import SlotStatus


def row(environment: str, model: str, pinned: int | None, serving: int | None, **fields: object) -> SlotStatus:
    found = SlotStatus(environment, model, pinned, serving, None, serving, "in sync", "", None, None, None)
    return replace(found, **fields)  # type: ignore[arg-type]


def test_two_environments_differ_in_pins_and_in_what_serves() -> None:
    rows = [
        row("staging", "churn", 6, 6),
        row("production", "churn", 6, 5, state="waiting", reason="its soak is not complete"),
        row("staging", "prices", 2, 2),
        row("production", "prices", 2, 2),
        row("staging", "new", 1, 1),
    ]
    assert list(between(rows, "staging", "production")) == [
        VersionDifference("churn", "server", 6, 5, "production: its soak is not complete"),
        VersionDifference("new", "pin", 1, None, ""),
        VersionDifference("new", "server", 1, None, ""),
    ]


def test_the_pins_of_one_are_held_against_registry_and_servers() -> None:
    rows = [
        row("staging", "churn", 6, 5, state="refused", reason="accuracy", stage_version=5),
        row("staging", "prices", 2, 2, alias_version=1, state="drift", reason=""),
        row("staging", "fine", 2, 2),
    ]
    assert list(within_one(rows)) == [
        VersionDifference("churn", "alias", 6, 5, "refused: accuracy"),
        VersionDifference("churn", "server", 6, 5, "refused: accuracy"),
        VersionDifference("churn", "stage", 6, 5, "refused: accuracy"),
        VersionDifference("prices", "alias", 2, 1, "drift"),
    ]
