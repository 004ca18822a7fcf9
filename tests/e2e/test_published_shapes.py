"""What ``--json`` prints and ``/api`` answers of one state, by a real receiver and the real commands."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.models import Versions
from tests.support.waiting import eventually
from tests.support.world import World

pytestmark = pytest.mark.long
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, versions: Versions) -> Iterator[World]:
    """A receiver that has served two versions, and was once asked for what is refused."""
    with World(tmp_path_factory.mktemp("world"), versions, stabilise_seconds=0.2) as world, world.program():
        for version in (versions.good, versions.better):
            world.commit(version)
            world.push()
            eventually(lambda v=version: world.verified() == v and world.idle(), 60)
        yield world


def valid(name: str, answer: Any) -> Any:
    """The answer, after it was held against the published schema, which must know all of its fields."""
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    for definition in schema["$defs"].values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    jsonschema.validate(answer, schema, jsonschema.Draft202012Validator)
    return answer


def api(world: World, name: str) -> Any:
    url = f"http://127.0.0.1:{world.environ['PINRAIL_ADMIN_PORT']}/api/{name}"
    with urllib.request.urlopen(url, timeout=20) as response:
        return valid(name, json.load(response))


def command(world: World, name: str, *arguments: str) -> Any:
    """``pinrail ARGUMENTS --json``, as the schema ``name`` describes it."""
    done = world.command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return valid(name, json.loads(done.stdout))


def test_status_is_what_the_api_says_of_the_environments(world: World, versions: Versions) -> None:
    said = command(world, "environments", "status")
    assert said == api(world, "environments")
    (slot,) = said["environments"]
    assert said["status"] == [slot]
    assert said["commit"] == world.origin.head("refs/heads/main")
    assert {slot[source] for source in ("pinned", "alias_version", "serving_version")} == {versions.better}
    assert (slot["state"], slot["since"] is None, slot["verified"][-1]) == ("in sync", False, "Z")


def test_history_is_the_list_of_deployments_that_the_api_answers(world: World, versions: Versions) -> None:
    said = command(world, "history", "history")
    assert said == api(world, "deployments")["deployments"]
    assert [(d["outcome"], d["to_version"]) for d in said] == [("live", versions.better), ("live", versions.good)]
    assert all(step["result"] == "done" for deployment in said for step in deployment["steps"])


def test_deliveries_say_which_job_they_joined_and_how_it_ended(world: World) -> None:
    said = api(world, "deliveries")["deliveries"]
    assert [(row["sender"], row["verdict"], row["job_state"]) for row in said] == [("github", "accepted", "done")] * 2


def test_plan_has_the_metrics_of_both_versions_and_says_the_same_in_a_table(world: World, versions: Versions) -> None:
    said = command(world, "plan", "plan")
    (slot,) = said["plan"]
    assert (slot["old"], slot["new"]) == (versions.better, versions.better)
    assert (slot["verdict"], slot["actions"]) == ("in sync", [])
    assert slot["metrics_new"]["accuracy"] == slot["metrics_old"]["accuracy"]
    table = world.command("plan").stdout
    assert f"pins at {said['commit'][:12]}" in table
    version = f"v{versions.better}"
    assert f"{version} -> {version} in sync" in " ".join(table.split())


def test_status_as_a_table_has_the_same_versions(world: World, versions: Versions) -> None:
    done = world.command("status", "--exit-code")
    assert done.returncode == 0, done.stdout
    header, row = done.stdout.splitlines()
    assert header.split()[:4] == ["environment", "model", "pin", "alias"]
    version = f"v{versions.better}"
    assert row.split()[:8] == ["staging", world.model, version, version, version, version, "in", "sync"]


def test_live_says_what_was_verified_then(world: World, versions: Versions) -> None:
    (slot,) = command(world, "live", "live")["live"]
    assert (slot["environment"], slot["model"], slot["version"]) == ("staging", world.model, versions.better)
    assert command(world, "live", "live", "--at", "2020-01-01")["live"] == []


def test_pins_that_are_served_do_not_differ_from_it(world: World) -> None:
    said = command(world, "diff", "diff", "staging", "--exit-code")
    assert (said["left"], said["right"], said["differences"]) == ("staging", None, [])


def test_doctor_has_a_check_for_each_line(world: World) -> None:
    said = command(world, "doctor", "doctor")
    assert said["ok"] is True
    lines = world.command("doctor").stdout.splitlines()
    assert len([line for line in lines if line.startswith("ok")]) == len(said["checks"])


def test_a_promotion_and_a_rollback_that_wait_to_be_merged_have_one_shape(world: World, versions: Versions) -> None:
    back = command(world, "proposal", "rollback", "staging", world.model)
    assert (back["change"]["version"], back["was"], back["pull_request"]) == (versions.good, versions.better, None)
    promoted = command(world, "proposal", "promote", world.model, "--version", str(versions.good), "--to", "staging")
    assert promoted["branch"] in world.origin.branches()
    assert promoted["change"]["back"] is False
