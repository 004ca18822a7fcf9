"""Docs, settings, command line and examples agree."""

import io
import itertools
import re
import shlex
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from receiver.cli.app import app
from receiver.settings import Settings

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = r"receiver|ml|serving|tests|compose|environments|docs|requirements|\.github|\.ci"
SHELL = ("&&", "|", ">>", "2>>")  # what ends a command
PLACEHOLDERS = {"N": "1", "TIME": "2026-11-23T14:00"}
COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented_with_its_default_and_meaning(name: str) -> None:
    field = Settings.model_fields[name]
    row = next((line for line in OPERATIONS.splitlines() if line.startswith(f"| `{name.upper()}` |")), None)
    assert row is not None, f"docs/operations.md has no row for {name.upper()}"
    default = field.default
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    assert default in (None, ()) or f"`{shown.lower() if isinstance(default, bool) else shown}`" in row
    assert (field.description or "missing docstring").replace("``", "`") in row


def test_no_setting_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^\| `([A-Z_]+)` \|", OPERATIONS, re.MULTILINE)
    assert sorted(documented) == sorted(name.upper() for name in Settings.model_fields)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert f"| `pinrail {command}" in OPERATIONS


def test_no_command_is_documented_that_does_not_exist() -> None:
    for page in PAGES:
        for command in re.findall(r"\bpinrail ([a-z]+)\b", page.read_text(encoding="utf-8")):
            assert command in COMMANDS, f"{page.name} speaks of `pinrail {command}`"


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Every use of `pinrail` with arguments, in code blocks and in texts, in the docs and in what `init` writes."""
    for page in [*PAGES, *files_below("environments/*.md", "receiver/cli/starter/files/*.md")]:
        text = page.read_text(encoding="utf-8")
        spans = re.findall(r"`pinrail ([^`\n]+)`", text)
        blocks = re.findall(r"^(?: {4}|\$ |.*&& )(?:\.venv/bin/)?pinrail (.+)$", text, re.MULTILINE)
        for line in [*spans, *blocks]:
            words = list(itertools.takewhile(lambda word: word not in SHELL, shlex.split(line, comments=True)))
            if len(words) > 1:
                yield page.name, [PLACEHOLDERS.get(word, word) for word in words]


def test_no_documented_command_line_is_a_usage_error() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    found = list(command_lines())
    assert len(found) > 20, "the pattern no longer finds command lines"
    for page, (name, *arguments) in found:
        try:
            commands[name].make_context(name, [*arguments])
        except Exception as error:
            raise AssertionError(f"{page}: pinrail {name} {shlex.join(arguments)}: {error}") from error


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def files_below(*tops: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *tops], capture_output=True, text=True, check=True, cwd=ROOT)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def comments_and_docstrings(file: Path) -> str:
    tokens = tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline)
    return "\n".join(t.string for t in tokens if t.type == tokenize.COMMENT or t.string.startswith(('"""', 'r"""')))


def test_every_path_that_the_docs_name_exists() -> None:
    named = rf"(?<![\w./-])(?:{FOLDERS})/[\w./*-]*"
    pages = files_below("*.md", "environments", "compose", ".github", ".ci", "Makefile")
    found = [(page.name, path) for page in pages for path in re.findall(named, page.read_text(encoding="utf-8"))]
    assert len(found) > len(pages), "the pattern no longer finds paths"
    assert [(page, path) for page, path in found if not list(ROOT.glob(path.rstrip("./")))] == []


def test_every_python_file_that_a_comment_or_docstring_names_exists() -> None:
    code = files_below("receiver/*.py", "ml/*.py", "serving/*.py", "tests/*.py")
    known = [f"/{file.relative_to(ROOT)}" for file in code]
    found = [
        (str(file.relative_to(ROOT)), path)
        for file in code
        for path in re.findall(r"(?<![\w./*-])[\w/]+\.py\b", comments_and_docstrings(file))
    ]
    assert [(file, path) for file, path in found if not any(name.endswith(f"/{path}") for name in known)] == []


def test_the_example_settings_are_settings() -> None:
    names = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name.lower() for name in names} <= set(Settings.model_fields)


def test_help_loads_nothing_heavy() -> None:
    script = "import sys, receiver.cli.app; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"mlflow", "sklearn", "pandas", "numpy", "fastapi", "pydantic", "rich", "git"} & set(
        done.stdout.split()
    )


def test_each_line_of_the_threat_model_names_tests_that_exist() -> None:
    page = (
        (ROOT / "docs/security.md").read_text(encoding="utf-8").partition("## Threat model")[2].partition("\n## ")[0]
    )
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    written = {
        name
        for file in files_below("tests/*.py")
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(rows) > 20, "the pattern no longer finds the table"
    assert {name for row in rows for name in re.findall(r"`(test_\w+)`", row)} <= written
    assert not [row for row in rows if "`test_" not in row and "**nothing**" not in row]
