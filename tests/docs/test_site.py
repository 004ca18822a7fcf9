"""The site of the docs: its reference says what the code says, and a link that leads nowhere fails its build."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.site.pages import OUTSIDE, ROOT, decisions, outside_pages, with_links
from docs.site.reference import (
    admin_api,
    command_line,
    environment_file,
    exit_codes,
    metrics,
    reference_pages,
    settings,
)
from ml.environment.schema import json_schema
from receiver.cli.app import app
from receiver.cli.failure import EXIT_CODES
from receiver.settings import Settings

REFUSALS = " ".join((ROOT / "docs/refusals.md").read_text(encoding="utf-8").split())
# Where a pin is refused: what stands in these messages is explained in docs/refusals.md.
REFUSING = (
    "receiver/core/policy.py",
    "receiver/planning/assess.py",
    "receiver/targets/compose/image.py",
    "receiver/adapters/mlflow/registry.py",
)
REFUSALS_IN = {"Rejected", "Hold", "_refuse"}
SHORTEST = 12  # characters; less is punctuation


def messages(tree: ast.AST) -> Iterator[ast.expr]:
    """What a refusal is made with, and what functions return that explain one (``why_...``)."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in REFUSALS_IN:
                yield from arguments
            case ast.FunctionDef(name=name) if name.startswith("why_"):
                yield from (
                    each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value is not None
                )


def literals(message: ast.expr) -> list[str]:
    """The fixed parts of an f-string or text."""
    if isinstance(message, ast.JoinedStr):
        parts = [part.value for part in message.values if isinstance(part, ast.Constant)]
    else:
        parts = [message.value] if isinstance(message, ast.Constant) else []
    return [part for part in parts if isinstance(part, str)]


@pytest.mark.parametrize("file", REFUSING)
def test_every_reason_for_a_refusal_is_explained(file: str) -> None:
    found = [literals(message) for message in messages(ast.parse((ROOT / file).read_text(encoding="utf-8")))]
    longest = [" ".join(max(parts, key=len).split()).strip(" :;,.(") for parts in found if parts]
    reasons = [text for text in longest if len(text) >= SHORTEST]
    assert reasons, "the pattern no longer finds refusals"
    unexplained = [text for text in reasons if text not in REFUSALS]
    assert not unexplained, f"docs/refusals.md explains no message with {unexplained}"


def test_the_reference_has_every_setting_command_code_and_field() -> None:
    assert re.findall(r"^\| `([A-Z_]+)` ", settings(), re.MULTILINE) == [
        name.upper() for name in Settings.model_fields
    ]
    names = [str(info.name or info.callback.__name__) for info in app.registered_commands if info.callback]
    assert re.findall(r"^## pinrail (\w+)$", command_line(), re.MULTILINE) == names
    assert re.findall(r"^\| `(\d+)` ", exit_codes(), re.MULTILINE) == [str(code) for code in EXIT_CODES]
    fields = re.findall(r"^\| `([^`]+)` ", environment_file(), re.MULTILINE)
    assert {*json_schema()["properties"], "models.<name>.version", "gate.champion.require"} <= {*fields}
    assert "pinrail_deployments_total" in metrics()
    assert "pinrail_requests_total" in metrics()
    assert "## GET /api/deployments" in admin_api()


def test_the_exit_codes_of_the_operations_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"Exit codes: (.+?)\.", " ".join(page.split()))
    codes = {int(part.split()[0]) for part in said.split(", ") if part.split()[0].isdigit()}
    assert codes == {code for code in EXIT_CODES if code < 128}


def test_links_lead_between_pages_as_they_do_between_files() -> None:
    text = "[a](operations.md#state) [b](../README.md) [c](../receiver/settings.py) [d](schemas) [e](https://x.y)"
    pages = "[a](operations.md#state) [b](index.md) c [d](reference/schemas.md) [e](https://x.y)"
    assert with_links(text, "docs/gate.md") == pages
    assert with_links("[a](#here) [b](../no/file.py)", "docs/gate.md") == "[a](#here) [b](../no/file.py)"
    assert with_links("[a](docs/gate.md)", "README.md") == "[a](gate.md)"
    assert with_links("![a](docs/pictures/model.png)", "README.md") == "![a](pictures/model.png)"
    assert (
        with_links("[a](../gate.md) [b](../../README.md)", "docs/adr/0001.md") == "[a](../gate.md) [b](../index.md)"
    )


def test_every_page_has_its_place_in_the_navigation() -> None:
    listed = {*re.findall(r"^ +- [^:]+: (\S+\.md)$", (ROOT / "docs/site/mkdocs.yml").read_text(), re.MULTILINE)}
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} | {*outside_pages(), *reference_pages()}
    assert listed == pages | {"adr/index.md"}, "add the page to nav in docs/site/mkdocs.yml"


def test_every_decision_is_listed() -> None:
    files = {file.name for file in (ROOT / "docs/adr").glob("[0-9]*.md")}
    assert {*re.findall(r"\]\((\S+)\)", decisions())} == files
    assert {*outside_pages()} == {*OUTSIDE.values()}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the site is built from, to be changed."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("MkDocs is not installed: `make docs` installs it")
    for name in ("docs", "environments", ".github"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def build(directory: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--config-file", str(directory / "docs/site/mkdocs.yml")],
        cwd=directory,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.parametrize(
    "broken", ["[a page](nowhere.md)", "[a part](gate.md#nowhere)", "[outside](../environments/nowhere.md)"]
)
def test_a_link_that_leads_nowhere_fails_the_build(copy: Path, broken: str) -> None:
    with (copy / "docs/glossary.md").open("a") as page:
        page.write(f"\n{broken}\n")
    done = build(copy)
    assert done.returncode == 1, done.stderr
    assert "nowhere" in done.stderr
    assert "in strict mode" in done.stderr + done.stdout


def test_the_site_is_built(copy: Path) -> None:
    done = build(copy)
    assert done.returncode == 0, done.stderr
    assert "PINRAIL_REPO_URL" in (copy / ".site/reference/settings.html").read_text()
    assert "first-promotion.html" in (copy / ".site/index.html").read_text()
