"""Identifiers use the field's terms, and a class name means one thing.

``docs/glossary.md`` has the terms. What is retired here was this code's own vocabulary; each entry names the
replacement.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("receiver", "ml", "serving", "tests")

# Retired wherever they are a word of an identifier, whatever stands beside them.
WORDS = {
    "ailing": "unhealthy",
    "berth": "backend",
    "berths": "backends",
    "consider": "assess",
    "considered": "assessed",
    "courier": "dispatcher",
    "curtain": "a step's name",
    "desk": "queries",
    "ending": "shutdown, or how it ended",
    "entitled": "stage_by_version",
    "finding": "assessment",
    "findings": "assessments",
    "forge": "upstream",
    "greet": "startup_summary",
    "greeting": "startup_summary",
    "hollow": "artifact_only",
    "incumbent": "the version to keep",
    "ladder": "environments",
    "lastwords": "log_tail",
    "lively": "live",
    "look": "observe",
    "looked": "observed",
    "looking": "observation",
    "looks": "observations",
    "newcomer": "a new version",
    "news": "notifications, message",
    "obey": "handle_command",
    "odd": "malformed",
    "pulse": "liveness",
    "road": "scenario",
    "roster": "discovery",
    "rude": "failing_smoke",
    "rung": "environment_slot",
    "rungs": "environments",
    "sooner": "bring_forward",
    "spot": "span",
    "standings": "statuses",
    "stuck": "abandoned",
    "survey": "observation",
    "tell": "publish, notify",
    "telling": "notification",
    "tells": "publishes",
    "tired": "slow_watch",
    "told": "published, notified",
}
# Retired as whole identifiers, for the words are good elsewhere: dashboard, front door, standing orders.
NAMES = {
    "Case": "VersionComparison",
    "Side": "VersionFacts",
    "advance": "propose_promotion",
    "also": "messages",
    "board": "status_board",
    "door": "listener",
    "play": "a step's name",
    "preview": "plan_pull_request",
    "spare": "standby",
    "standing": "status",
    "way": "rollback_plan",
    "ways": "plans",
}
# Retired where they follow each other.
PHRASES = {
    "again at": "next_check_at",
    "back where it was": "restored",
    "find way": "plan_rollback",
    "follow up": "background",
    "last words": "log_tail",
    "left behind": "superseded",
    "moved to": "switched_to",
    "put back": "roll_back",
    "put off": "deferred",
    "putting back": "rolling_back",
    "stand by": "drain",
    "sum up": "aggregate",
    "whole road": "whole_flow",
    "with spare": "with_standby",
}
# Retired in texts too: in the names of tests, which are sentences, in docstrings and in messages.
TEXTS = {
    "incumbent": "the version to keep",
    "last words": "log tail, last log lines",
    "newcomer": "a new version",
    "news": "messages",
    "puts back": "rolls back, restores",
    "put back": "rolled back, restored",
    "putting back": "rolling back",
    "road": "runtime, flow",
    "told": "reported, published, delivered",
}


def defined(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that a module gives to something: functions, classes, arguments, variables, attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("test_"):
                continue  # a sentence
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield node.lineno, name


def words(name: str) -> list[str]:
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def retired(name: str) -> str | None:
    """The field's term for what an identifier says in a retired one."""
    parts = words(name)
    text = f" {' '.join(parts)} "
    found = [WORDS[part] for part in parts if part in WORDS]
    found += [term for phrase, term in PHRASES.items() if f" {phrase} " in text]
    bare = name.strip("_")
    found += [term for known in (bare, bare.lower()) if (term := NAMES.get(known))]
    return found[0] if found else None


def sentences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The names of tests and every text: docstrings, log lines, errors."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("test_"):
                yield node.lineno, name
            case ast.Constant(value=str(text)):
                yield node.lineno, text


def retired_in_text(text: str) -> str | None:
    """The field's term for what a sentence, or the name of a test, says in a retired one."""
    spaced = text.replace("_", " ") if text.startswith("test_") else text
    said = f" {' '.join(re.findall('[a-z_]+', spaced.lower()))} "
    return next((f"{old!r}: say {term}" for old, term in TEXTS.items() if f" {old} " in said), None)


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_identifiers_use_the_fields_terms(package: str) -> None:
    found = []
    for module in modules(package):
        place = module.relative_to(ROOT)
        if term := retired(module.stem.removeprefix("test_")):
            found.append(f"{place}: call it {term}")
        for line, name in defined(ast.parse(module.read_text(encoding="utf-8"))):
            if term := retired(name):
                found.append(f"{place}:{line}: {name}: call it {term}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("package", ["receiver", "ml", "serving"])
def test_texts_use_the_fields_terms(package: str) -> None:
    found = []
    for module in modules(package):
        for line, text in sentences(ast.parse(module.read_text(encoding="utf-8"))):
            if term := retired_in_text(text):
                found.append(f"{module.relative_to(ROOT)}:{line}: {term}")
    assert not found, "\n".join(found)


def test_the_names_of_tests_use_the_fields_terms() -> None:
    found = []
    for module in modules("tests"):
        for line, name in sentences(ast.parse(module.read_text(encoding="utf-8"))):
            if name.startswith("test_") and (term := retired_in_text(name)):
                found.append(f"{module.relative_to(ROOT)}:{line}: {term}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("look_at", True),
        ("_put_off", True),
        ("FollowUp", True),
        ("BERTHS", True),
        ("door", True),
        ("FrontDoors", False),
        ("dashboard", False),
        ("StatusBoard", False),
        ("lookup", False),
        ("output", False),
    ],
)
def test_a_retired_word_is_found_as_a_word(name: str, *, ours: bool) -> None:
    assert (retired(name) is not None) is ours


def test_a_class_name_means_one_thing() -> None:
    places = defaultdict(set)
    for package in ("receiver", "ml", "serving"):
        for module in modules(package):
            for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].add(f"{module.relative_to(ROOT)}:{node.lineno}")
    assert {name: sorted(where) for name, where in places.items() if len(where) > 1} == {}
