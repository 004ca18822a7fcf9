"""Docs, settings, command line and examples agree."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from receiver.cli.app import app
from receiver.settings import Settings

ROOT = Path(__file__).parent.parent
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
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


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_example_settings_are_settings() -> None:
    names = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name.lower() for name in names} <= set(Settings.model_fields)


def test_help_loads_nothing_heavy() -> None:
    script = "import sys, receiver.cli.app; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"mlflow", "sklearn", "pandas", "numpy", "fastapi", "pydantic", "rich", "git"} & set(
        done.stdout.split()
    )
