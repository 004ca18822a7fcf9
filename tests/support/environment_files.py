"""Hypothesis strategies for environment files as people write them: comments, blank lines, both styles."""

from dataclasses import dataclass

from hypothesis import strategies as st

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
VERSIONS = st.one_of(st.integers(1, 30), st.integers(1, 2**63 - 1))
COMMENTS = st.sampled_from(["", "  # version: 7", "\t# ü😀: {}", " #", "  # - [a, *b]"])
BETWEEN = st.sampled_from(["", "\n", "# version: 7\n", "  # port: 1\n\n", "      # {version: 9}\n"])


@dataclass(frozen=True)
class Written:
    """A file and the pins that it was written with."""

    text: str
    pins: dict[str, int]


@st.composite
def environment_files(draw: st.DrawFn) -> Written:
    pins = draw(st.dictionaries(NAMES, VERSIONS, min_size=1, max_size=4))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    lines = [
        draw(BETWEEN) + "environment: production" + draw(COMMENTS),
        draw(BETWEEN) + "registry: {stage: Production, alias: production}" + draw(COMMENTS),
        "gate: {}" + draw(COMMENTS),
        draw(BETWEEN) + "models:" + draw(COMMENTS),
    ]
    for place, (model, version) in enumerate(pins.items()):
        lines += _pin(draw, model, version, 8000 + place)
    text = "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n# end\n"]))
    return Written(text.replace("\n", newline), pins)


def _pin(draw: st.DrawFn, model: str, version: int, port: int) -> list[str]:
    key = draw(st.sampled_from([model, f"'{model}'", f'"{model}"']))
    override = f"override: {{version: {version}, reason: 'version: {version}'}}"
    if draw(st.booleans()):
        extra = draw(st.sampled_from(["", f", {override}"]))
        return [f"  {key}: {{port: {port}, version: {version}{extra}}}{draw(COMMENTS)}"]
    fields = [f"version: {version}", f"port: {port}", *draw(st.sampled_from([[], [override]]))]
    return [
        f"  {key}:{draw(COMMENTS)}",
        *(f"{draw(BETWEEN)}    {field}{draw(COMMENTS)}" for field in draw(st.permutations(fields))),
    ]
