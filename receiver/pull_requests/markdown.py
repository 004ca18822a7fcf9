"""Markdown for GitHub, made of untrusted text. Pure.

Model names, reasons and logs come from registries, commits and model servers. Escaped here, they are plain text: no
HTML, table cell, mention, issue reference, closing keyword, link or CI command.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ml.evidence import CheckOutcome, Verdict
from receiver.core.redact import plain, plain_lines
from serving.model.model_dir import Column

MAX_TEXT = 1_000  # characters of one text
MAX_LINES = 40  # of a block: the last ones, where errors are
MAX_BLOCK = 6_000  # characters

_INVISIBLE = "&#8203;"  # zero width: splits what GitHub would turn into a mention, reference or link
_SYNTAX = re.compile(r"([\\`*_{}\[\]()|~$])")
_LINKS = re.compile(r"(?i)(@|#|\bgh-|://|\bwww(?=\.))")
_LINE_START = re.compile(r"^(\d+)([.)])(?=\s|$)|^([-+=:])")
_OUTCOMES = {
    CheckOutcome.PASS: "✅ pass",
    CheckOutcome.FAIL: "❌ **fail**",
    CheckOutcome.INCONCLUSIVE: "❔ **inconclusive**",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """The metrics of one version, by name. ``version`` None: there is no version to compare with."""

    version: int | None
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Signature:
    """What callers of a model send and get. ``outputs`` is a description of the answers."""

    columns: Sequence[Column] = ()
    outputs: str = ""


def text(value: object, limit: int = MAX_TEXT) -> str:
    """One line of literal text, for a paragraph, a list or a table cell."""
    line = plain(str(value))
    if len(line) > limit:
        line = line[: limit - 1] + "…"
    line = _SYNTAX.sub(r"\\\1", line)
    line = escape(line, quote=False)
    line = _LINKS.sub(lambda found: found[1] + _INVISIBLE, line)
    return _LINE_START.sub(lambda found: f"{found[1]}\\{found[2]}" if found[1] else f"\\{found[3]}", line)


def code(value: object) -> str:
    """One line of code; unlike with backticks, its content cannot end it."""
    return f"<code>{text(value)}</code>"


def block(value: str) -> str:
    """Several literal lines, such as a log tail; of too many, the last ones."""
    lines = plain_lines(value).strip("\n").split("\n")
    shown = "\n".join(lines[-MAX_LINES:])[-MAX_BLOCK:]
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Build a table; the cells are Markdown already, in one line each."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def metrics_table(old: Measured, new: Measured, margins: Mapping[str, float] | None = None) -> str:
    """Every metric that differs, and its change; ``margins`` are the half-widths of the changes' intervals."""
    names = sorted(set(old.metrics) | set(new.metrics))
    if not names:
        return "The registry has no metrics for these versions."
    versions = [f"v{side.version}" if side.version is not None else "nothing" for side in (old, new)]
    differing = [name for name in names if not _same(old.metrics.get(name), new.metrics.get(name))]
    rows = [
        [text(name), *_metric(old.metrics.get(name), new.metrics.get(name), (margins or {}).get(name))]
        for name in differing
    ]
    same = len(names) - len(differing)
    said = [table(["metric", *versions, "change"], rows)] if rows else []
    said += [f"{same} {'metric is' if same == 1 else 'metrics are'} the same."] if same else []
    return "\n\n".join(said)


def gate_table(verdicts: Sequence[Verdict]) -> str:
    """Every check of the gate with its measured value and limit; those that pass are folded."""
    passing = [verdict for verdict in verdicts if verdict.outcome is CheckOutcome.PASS]
    others = [verdict for verdict in verdicts if verdict.outcome is not CheckOutcome.PASS]
    parts = [_checks_table(others)] if others else []
    if passing:
        summary = f"{len(passing)} of {len(verdicts)} checks pass"
        parts.append(folded(summary, _checks_table(passing)))
    return "\n\n".join(parts)


def folded(summary: str, content: str) -> str:
    """Markdown that is read on demand. ``summary``: one line of ours."""
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def signature_changes(old: Signature, new: Signature) -> str:
    """The changes in what callers send or get, as a list; one sentence if nothing changes."""
    before, after = {c.name: c for c in old.columns}, {c.name: c for c in new.columns}
    lines = [f"- {code(name)} was removed" for name in before if name not in after]
    lines += [f"- {code(name)} is new: {_field(column)}" for name, column in after.items() if name not in before]
    lines += [
        f"- {code(name)} was {_field(before[name])}, now {_field(column)}"
        for name, column in after.items()
        if name in before and before[name] != column
    ]
    if not lines and list(before) != list(after):
        lines.append("- the fields are in another order, which matters to requests without field names")
    if old.outputs != new.outputs:
        lines.append(f"- answers were {text(old.outputs or 'undescribed')}, now {text(new.outputs or 'undescribed')}")
    return (
        "\n".join(lines) or f"The same {len(after)} {_fields(len(after))} and answers: nothing changes for callers."
    )


def number(value: float) -> str:
    """A measured value for people."""
    return f"{value:.4g}" if math.isfinite(value) else "no number"


def _checks_table(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [text(v.name), _OUTCOMES[v.outcome], number(v.value), text(f"{v.op} {v.threshold:g}"), text(v.reason)]
        for v in verdicts
    ]
    return table(["check", "outcome", "measured", "limit", "reason"], rows)


def _same(old: float | None, new: float | None) -> bool:
    return old is not None and new is not None and number(old) == number(new)


def _metric(old: float | None, new: float | None, margin: float | None) -> Sequence[str]:
    shown = ["-" if value is None else number(value) for value in (old, new)]
    change = math.nan if old is None or new is None else new - old
    if not math.isfinite(change):
        return [*shown, "-"]
    spread = f" ± {number(margin)}" if margin is not None else ""
    return [*shown, f"{'+' if change >= 0 else '-'}{number(abs(change))}{spread}"]


def _fields(count: int) -> str:
    return "field" if count == 1 else "fields"


def _field(column: Column) -> str:
    return f"{text(column.type)}, {'required' if column.required else 'optional'}"
