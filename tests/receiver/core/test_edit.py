from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.environment.file import EnvironmentInvalid, parse_environment
from receiver.core.edit import edit_pin
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
