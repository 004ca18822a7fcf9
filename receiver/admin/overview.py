"""The overview: models as rows, environments as columns, what needs attention first. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from receiver.admin.health import HealthGroup, group, rank, worst
from receiver.admin.strip import Strip
from receiver.core.state import Slot
from receiver.planning.status import SlotStatus


@dataclass(frozen=True, slots=True)
class OverviewFilter:
    """What the URL asks for."""

    text: str = ""  # in the model's or the environment's name
    group: HealthGroup | None = None

    def fits(self, row: SlotStatus) -> bool:
        """The slot is among what was asked for."""
        named = self.text.casefold() in f"{row.environment}/{row.model}".casefold()
        return named and self.group in (None, group(row.state))


@dataclass(frozen=True, slots=True)
class Cell:
    """One slot in the table."""

    row: SlotStatus
    since: float | None  # when the present state began, where that is recorded
    strip: Strip


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model; a cell, or None, for each environment."""

    model: str
    cells: Sequence[Cell | None]


@dataclass(frozen=True, slots=True)
class Trouble:
    """One sentence, with every slot that it is true of."""

    state: str
    slots: Sequence[Slot]
    sentence: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The table, what is wrong, and how many slots each filter would show."""

    environments: Sequence[str]
    models: Sequence[ModelRow]
    troubles: Sequence[Trouble]
    counts: Mapping[HealthGroup, int]
    total: int


def overview(rows: Sequence[SlotStatus], wanted: OverviewFilter, cell: Callable[[SlotStatus], Cell]) -> Overview:
    """Arrange what fits. ``cell`` adds what the journal knows of a slot."""
    named = [row for row in rows if OverviewFilter(wanted.text).fits(row)]
    shown = [row for row in named if wanted.fits(row)]
    environments = list(dict.fromkeys(row.environment for row in rows))
    by_model: dict[str, dict[str, SlotStatus]] = {}
    for row in named:
        by_model.setdefault(row.model, {})[row.environment] = row
    models = {row.model for row in shown}
    ordered = sorted(models, key=lambda model: (_rank(by_model[model].values()), model))
    return Overview(
        environments,
        [
            ModelRow(
                model, [cell(by_model[model][name]) if name in by_model[model] else None for name in environments]
            )
            for model in ordered
        ],
        troubles(shown),
        {one: sum(group(row.state) is one for row in named) for one in HealthGroup},
        len(named),
    )


def troubles(rows: Iterable[SlotStatus]) -> list[Trouble]:
    """What is wrong or special, the worst first; slots with the same sentence share it."""
    found: dict[tuple[str, str], list[Slot]] = {}
    for row in rows:
        if group(row.state) is HealthGroup.TROUBLE or row.reason:
            sentence = row.reason.partition("\n")[0] or "no reason is recorded"
            found.setdefault((row.state, sentence), []).append(Slot(row.environment, row.model))
    listed = [Trouble(state, slots, sentence) for (state, sentence), slots in found.items()]
    return sorted(listed, key=lambda trouble: rank(trouble.state))


def _rank(rows: Iterable[SlotStatus]) -> int:
    state = worst(row.state for row in rows)
    return 0 if state is None else rank(state)
