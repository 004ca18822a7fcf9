import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.environment.file import EnvironmentInvalid, parse_environment
from receiver.core.edit import NewPin, add_pin, edit_pin
from receiver.core.errors import Rejected
from tests.support.environment_files import VERSIONS, Written, environment_files
from tests.support.examples import examples
from tests.support.git_repos import PRODUCTION


@settings(max_examples=examples(120), deadline=None)
@given(environment_files(), VERSIONS, st.randoms(use_true_random=False))
def test_one_line_changes_and_only_that_version_with_it(written: Written, version: int, random) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    model = random.choice(sorted(written.pins))
    before = written.text.encode()
    after = edit_pin(before, model, version)
    old_lines, new_lines = before.split(b"\n"), after.split(b"\n")
    assert len(old_lines) == len(new_lines)
    changed = [(old, new) for old, new in zip(old_lines, new_lines, strict=True) if old != new]
    assert len(changed) == (0 if version == written.pins[model] else 1)
    old, new = (parse_environment(raw, "x.yaml") for raw in (before, after))
    pins = {**old.models, model: replace(old.models[model], version=version)}
    assert new == replace(old, models=pins)


@settings(max_examples=examples(40), deadline=None)
@given(environment_files(), VERSIONS)
def test_changing_back_restores_every_byte(written: Written, version: int) -> None:
    model, was = next(iter(written.pins.items()))
    raw = written.text.encode()
    assert edit_pin(edit_pin(raw, model, version), model, was) == raw


def test_an_override_for_another_version_stays_and_waives_nothing_for_the_new_one() -> None:
    text = PRODUCTION + "    override: {version: 1, reason: it had to be}\n"
    pin = parse_environment(edit_pin(text.encode(), "churn-model", 2), "x.yaml").models["churn-model"]
    assert pin.override is not None
    assert (pin.version, pin.override.version) == (2, 1)


def test_a_model_that_is_not_pinned_is_refused_with_what_was_meant() -> None:
    with pytest.raises(Rejected, match=r"production.yaml has no pin for 'churn': did you mean churn-model\?"):
        edit_pin(PRODUCTION.encode(), "churn", 2, "production.yaml")


@pytest.mark.parametrize("version", [0, -1, 2**63])
def test_what_is_no_registry_version_is_refused(version: int) -> None:
    with pytest.raises(Rejected, match="allowed a whole number from 1"):
        edit_pin(PRODUCTION.encode(), "churn-model", version)


def test_a_file_that_is_not_valid_is_not_edited() -> None:
    with pytest.raises(EnvironmentInvalid):
        edit_pin(PRODUCTION.replace("port: 8001", "port: 0").encode(), "churn-model", 2)


@settings(max_examples=examples(120), deadline=None)
@given(environment_files(), VERSIONS)
def test_a_new_pin_is_added_and_no_line_is_lost(written: Written, version: int) -> None:
    before = written.text.encode()
    after = add_pin(before, NewPin("a-new-model", version, 65000, "{r2: {min: 0.3}}"))
    old, new = (parse_environment(raw, "x.yaml") for raw in (before, after))
    added = new.models["a-new-model"]
    assert (added.version, added.port, [*(added.gate or {})]) == (version, 65000, ["r2"])
    assert replace(new, models={name: pin for name, pin in new.models.items() if name != "a-new-model"}) == old
    left = after.decode().splitlines()
    for line in before.decode().splitlines():
        if "models:" not in line and "{" not in line:
            left.remove(line)


HEAD = "environment: qa\nregistry: {alias: qa}\ngate: {}\n"
BLOCK = "  b:\n    version: 2 # the one line that a promotion changes\n    port: 2\n    gate: {}\n"


@pytest.mark.parametrize(
    ("models", "edited"),
    [
        ("models: {} # none yet\n", f"models: # none yet\n{BLOCK}"),
        ("models: {}", f"models:\n{BLOCK}"),
        ("models:\n  {}\n", f"models:\n{BLOCK}"),
        (
            "models: {a: {version: 1, port: 1}}\n",
            "models: {b: {version: 2, port: 2, gate: {}}, a: {version: 1, port: 1}}\n",
        ),
        ("models: {\n# none\n}\n", "models: {b: {version: 2, port: 2, gate: {}}, \n# none\n}\n"),
        (
            "models:\n  a:\n    version: 1\n    port: 1\n    # override: {version: 2}\n\n# the end\n",
            f"models:\n  a:\n    version: 1\n    port: 1\n    # override: {{version: 2}}\n{BLOCK}\n# the end\n",
        ),
        ("models:\n  a: {version: 1,\n    port: 1\n  }", f"models:\n  a: {{version: 1,\n    port: 1\n  }}\n{BLOCK}"),
        (
            "models:\r\n  a:\r\n    version: 1\r\n    port: 1\r\n",
            "models:\r\n  a:\r\n    version: 1\r\n    port: 1\r\n" + BLOCK.replace("\n", "\r\n"),
        ),
    ],
)
def test_a_new_pin_stands_after_the_others(models: str, edited: str) -> None:
    head = HEAD.replace("\n", "\r\n") if "\r" in models else HEAD
    assert add_pin((head + models).encode(), NewPin("b", 2, 2, "{}")).decode() == head + edited


def test_a_field_after_the_models_keeps_its_comment() -> None:
    text = "models:\n  a: {version: 1, port: 1}\n\n# who may\n" + HEAD
    added = add_pin(text.encode(), NewPin("b", 2, 2, "{}")).decode()
    assert added == f"models:\n  a: {{version: 1, port: 1}}\n{BLOCK}\n# who may\n{HEAD}"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("churn-model", "has a pin for churn-model already, of version 1: `pinrail promote`"),
        ("a: {version: 1}", "found the name 'a: {version: 1}', allowed"),
    ],
)
def test_a_pin_that_cannot_be_added_is_refused(model: str, said: str) -> None:
    with pytest.raises(Rejected, match=re.escape(said)):
        add_pin(PRODUCTION.encode(), NewPin(model, 2, 8009, "{}"), "production.yaml")


def test_a_pin_with_a_value_that_no_file_may_have_is_refused() -> None:
    with pytest.raises(EnvironmentInvalid, match="allowed a whole number from 1 to 65535"):
        add_pin(PRODUCTION.encode(), NewPin("other", 2, 70000, "{}"), "production.yaml")
