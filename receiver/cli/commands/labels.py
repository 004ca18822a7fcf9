"""``pinrail labels``: take in what turned out to be true, and print how good each version's answers were."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml.environment.file import did_you_mean
from ml.live.figures import asked_text
from ml.live.join import update
from ml.live.label_store import LabelStore
from ml.live.labels import Counts, Label, Realised
from ml.live.realised import unfit_labels
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.inference_log.label_file import LabelColumns, LabelFile
from receiver.cli.output import answer
from receiver.cli.tables import table, version
from receiver.core.errors import Rejected
from receiver.settings import load_settings


@dataclass(frozen=True, slots=True)
class LabelsView:
    """The labels of a model and what follows from them: ``pinrail labels --json``."""

    counts: Counts
    realised: Sequence[Realised]
    unfit: Sequence[str]
    """Some of the labels that cannot be compared with the answers."""


def labels(model: str, file: Path | None, columns: LabelColumns, *, as_json: bool) -> None:
    """Take in a file, if one is named, and print the realised metrics. Rejected: it has no labels of this model."""
    directories = LogDirectories(load_settings().pinrail_state_dir)
    store = LabelStore(directories.root)
    _require_recorded(directories, model)
    if file is not None:
        _take_in(store, model, LabelFile(file, columns))
    update(store, directories.all_parquet, model)
    counts, unfit = store.counts().get(model, Counts(model, 0, 0, 0)), unfit_labels(store.labelled(model))
    view = LabelsView(counts, store.realised(model), unfit)
    answer(view, _text, json_wanted=as_json)


def _require_recorded(directories: LogDirectories, model: str) -> None:
    known = sorted({slot.model for slot in directories.slots()})
    if model not in known:
        raise Rejected(
            f"nothing is recorded of {model}: {did_you_mean(model, known)}"
            if known
            else f"nothing is recorded of {model}: add `log: {{}}` to an environment file and merge it"
        )


def _take_in(store: LabelStore, model: str, file: LabelFile) -> None:
    without = 0

    def given() -> Iterator[Label]:
        nonlocal without
        for found in file.rows():
            if found is None:
                without += 1
            else:
                yield found

    received = store.add(model, given())
    said = f"{received.new:,} labels are new, {received.same:,} known, {received.replaced:,} replace another one"
    sys.stderr.write(f"{said}, {without:,} rows have none\n" if without else f"{said}\n")


def _text(view: LabelsView) -> str:
    counts = view.counts
    unknown = f", {counts.unknown:,} have no recorded answer so far" if counts.unknown else ""
    head = f"{counts.joined:,} labels of {counts.model} are joined to answers{unknown}\n"
    rows = [
        (
            each.environment,
            version(each.version),
            each.metric,
            _number(each.value),
            "-" if each.low is None else f"{_number(each.low)} to {_number(each.high)}",
            each.labels,
            _number(each.gate),
            asked_text(each).removeprefix("; "),
            each.problem,
        )
        for each in view.realised
    ]
    header = ("environment", "version", "metric", "value", "95 % interval", "labels", "gate", "policy", "problem")
    unfit = f"Such as: {', '.join(map(repr, view.unfit))}\n" if view.unfit else ""
    return head + (table(header, rows) if rows else "") + unfit


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
