"""What holds for every workflow, whatever it does: ours, and those that `pinrail init` writes."""

import re
from typing import Any

import pytest

from tests.support.actions import ROOT, WORKFLOWS, evaluate, fill, load

STARTER = ROOT / "receiver/cli/starter/files/workflows"
NAMES = sorted(str(path.relative_to(ROOT)) for folder in (WORKFLOWS, STARTER) for path in folder.glob("*.yml"))


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in load(ROOT / name)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("name", NAMES)
def test_actions_are_pinned_by_commit_and_say_their_version(name: str) -> None:
    used = re.findall(r"uses: (.+)", (ROOT / name).read_text())
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", action)


@pytest.mark.parametrize("name", NAMES)
def test_the_checkout_leaves_no_token_behind(name: str) -> None:
    for step in steps(name):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_pasted_into_a_script(name: str) -> None:
    assert not [step["run"] for step in steps(name) if "${{" in step.get("run", "")]


@pytest.mark.parametrize("name", NAMES)
def test_permissions_are_given_job_by_job(name: str) -> None:
    data = load(ROOT / name)
    assert data["permissions"] == {}
    assert all(job["permissions"] for job in data["jobs"].values())


@pytest.mark.parametrize("name", NAMES)
def test_what_strangers_start_knows_no_secrets_and_may_write_nothing(name: str) -> None:
    data, text = load(ROOT / name), (ROOT / name).read_text()
    triggers = {data["on"]} if isinstance(data["on"], str) else set(data["on"])
    assert "pull_request_target" not in triggers
    if "pull_request" in triggers:
        assert not re.search(r"\$\{\{[^}]*(secrets|github\.token)", text)
        assert all(job["permissions"] == {"contents": "read"} for job in data["jobs"].values())


@pytest.mark.parametrize("name", NAMES)
def test_secrets_are_in_the_steps_that_use_them_and_never_where_packages_are_installed(name: str) -> None:
    data = load(ROOT / name)
    shared = [data.get("env"), *(job.get("env") for job in data["jobs"].values())]
    assert "secrets." not in str(shared)
    for step in steps(name):
        if re.search(r"(make|pip) install", step.get("run", "")):
            assert "env" not in step


def test_ci_runs_what_runs_everywhere() -> None:
    assert [step["run"] for step in steps(".github/workflows/ci.yml") if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_expressions_mean_what_they_mean_on_github() -> None:
    contexts = {"inputs": {"threshold": "0.9"}, "secrets": {}, "github": {"token": "t", "repository": "o/r"}}
    assert fill("${{ github.repository }}.git", contexts) == "o/r.git"
    assert fill("${{ secrets.PINRAIL_TOKEN || github.token }}", contexts) == "t"
    assert evaluate("inputs.threshold != ''", contexts)
    assert not evaluate("inputs.nothing != '' && !(inputs.threshold == '0.9')", contexts)
