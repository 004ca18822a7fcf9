"""The demo in a terminal, as an SVG whose lines appear in the rhythm in which they were printed, in less time."""

import re
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

SHOWN_SECONDS = 20.0  # from the first line to the last
HOLD_SECONDS = 6.0  # how long the end stays before it begins anew
COLUMNS, LINE, CHARACTER, MARGIN = 118, 19, 7.8, 16
_STAMPED = re.compile(r"^\s*(\d+\.\d) s  ")


def recording() -> str:
    """Run ``pinrail demo --once`` and draw what it prints."""
    program = Path(sys.executable).with_name("pinrail")
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [program, "demo", "--once"], cwd=directory, capture_output=True, text=True, check=True, timeout=600
        )
        printed = done.stdout.replace(directory, "~/models")
    return drawn(["$ make demo", *printed.splitlines()])


def drawn(lines: list[str]) -> str:
    """The lines as an animated picture."""
    stamps = [float(found[1]) for line in lines if (found := _STAMPED.match(line))]
    shown: list[tuple[float, str]] = []
    at = 0.0
    for line in lines:
        stamp = _STAMPED.match(line)
        at = float(stamp[1]) / max(stamps) * SHOWN_SECONDS if stamp else at
        shown += [(at, part) for part in _wrapped(line)]
    whole = at + HOLD_SECONDS
    height = MARGIN * 2 + LINE * len(shown)
    rules, texts = [], []
    for number, (second, line) in enumerate(shown):
        top = MARGIN + LINE * (number + 1) - 5
        if second == 0:  # what stands there from the begin
            texts.append(f'<text x="{MARGIN}" y="{top}">{escape(line)}</text>')
            continue
        share = max(0.01, second / whole * 100)
        rules.append(
            f"@keyframes l{number}{{0%,{share - 0.01:.2f}%{{opacity:0}}{share:.2f}%,100%{{opacity:1}}}}"
            f".l{number}{{animation:l{number} {whole:.1f}s infinite}}"
        )
        texts.append(f'<text class="l{number}" x="{MARGIN}" y="{top}">{escape(line)}</text>')
    width = round(COLUMNS * CHARACTER + 2 * MARGIN)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        ' aria-label="make demo: two versions are trained, gated and promoted, a broken third one is rolled back">'
        "<style>text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#e6e3dc;white-space:pre}"
        f"@media (prefers-reduced-motion:reduce){{text{{animation:none!important}}}}{''.join(rules)}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#16181a"/>{"".join(texts)}</svg>\n'
    )


def _wrapped(line: str) -> list[str]:
    if len(line) <= COLUMNS:
        return [line]
    cut = line.rfind(" ", 0, COLUMNS)
    cut = cut if cut > COLUMNS // 2 else COLUMNS
    return [line[:cut], *_wrapped(" " * 12 + line[cut:].strip())]
