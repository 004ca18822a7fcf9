"""Every commit that changes the pins ends with a status that is true, also where nothing had to be deployed."""

from dataclasses import replace
from pathlib import Path

import pytest

from receiver.core.errors import Rejected
from tests.support.flow import MODEL
from tests.support.github_server import FakeGitHub
from tests.support.github_spec import require_description
from tests.support.killing import Killed
from tests.support.road import STAGING
from tests.support.told import Told

require_description()

STAGING_FILE = "environments/staging.yaml"


def push_invalid(road: Told, text: str | None = None) -> str:
    """Push a head whose pins are not valid, and have it looked at."""
    wrong = text or road.flow.files(1, 1)[STAGING_FILE].decode().replace("version: 1", "version: 010")
    commit = road.origin.commit({STAGING_FILE: wrong})
    with pytest.raises(Rejected):
        road.run()
    road.deliver()
    return commit


def test_the_merge_of_a_revert_is_a_success_though_nothing_is_left_to_deploy(road: Told) -> None:
    road.flow.prober.tired.add(2)
    road.pin(2, 1)
    road.run()
    road.deliver()
    back = road.pin(1, 1)
    assert not road.run().outcomes
    road.deliver()
    assert road.status(back, "staging") == ("success", "churn-model v1 is live")
    assert road.status(back, "production") is None, "its file is as it was"
    road.run("timer")
    assert road.deliver() == 0


def test_a_wait_that_a_revert_ends_is_said_to_be_over(tmp_path: Path, github: FakeGitHub, url: str) -> None:
    road = Told(tmp_path, url, github, soak="30m")
    road.register("long", "long")
    road.pin(1, 1)
    road.run()
    with road.flow.database.transaction() as db:
        db.execute("UPDATE deployments SET ended_at = ended_at - 1801")
    road.run("timer")
    waiting = road.pin(2, 2)
    road.run()
    road.deliver()
    assert (road.status(waiting, "production") or ("",))[0] == "pending"
    back = road.pin(2, 1)
    road.run()
    road.deliver()
    assert road.status(back, "production") == ("success", "churn-model v1 is live")
    assert road.status(waiting, "production") == ("error", f"churn-model: followed by {back[:7]}")
    assert road.deployments(waiting, "production") == ["queued", "inactive"]


def test_pins_that_are_not_valid_are_a_failure_everywhere_with_file_line_and_what_is_allowed(road: Told) -> None:
    commit = push_invalid(road)
    for environment in ("staging", "production"):
        state, description = road.status(commit, environment) or ("", "")
        assert state == "failure"
        assert description.startswith("environments/staging.yaml:5: models.churn-model.version: found '010', allowed")
    with pytest.raises(Rejected):
        road.run("timer")
    assert road.deliver() == 0, "once"


def test_each_environment_is_told_of_its_own_error_first(road: Told) -> None:
    files = {path: raw.replace(b"version: 1", b"version: 010") for path, raw in road.flow.files(1, 1).items()}
    commit = road.origin.commit(dict(files))
    with pytest.raises(Rejected):
        road.run()
    road.deliver()
    for environment in ("staging", "production"):
        _, description = road.status(commit, environment) or ("", "")
        assert description.startswith(f"1 of 2: environments/{environment}.yaml:")


def test_the_next_valid_commit_is_a_success_everywhere_also_where_it_changed_nothing(road: Told) -> None:
    push_invalid(road)
    repaired = road.pin(1, 1)
    assert not road.run().outcomes
    road.deliver()
    for environment in ("staging", "production"):
        assert road.status(repaired, environment) == ("success", "churn-model v1 is live")


def test_a_head_that_is_still_not_valid_says_so_again(road: Told) -> None:
    push_invalid(road)
    later = road.origin.commit({"README.md": "hello"})
    with pytest.raises(Rejected):
        road.run()
    road.deliver()
    assert (road.status(later, "staging") or ("",))[0] == "failure"


def test_a_symbolic_link_in_place_of_a_file_is_a_failure(road: Told) -> None:
    commit = road.origin.commit_entry(STAGING_FILE, "120000", road.origin.blob(b"/etc/passwd"))
    with pytest.raises(Rejected):
        road.run()
    road.deliver()
    assert road.status(commit, "staging") == (
        "failure",
        "environments/staging.yaml: found a symbolic link, allowed a regular file: commit the file itself",
    )


def test_a_first_head_that_is_not_valid_is_told_where_the_error_is(
    tmp_path: Path, github: FakeGitHub, url: str
) -> None:
    road = Told(tmp_path, url, github)
    commit = push_invalid(road, "environment: [")
    assert (road.status(commit, "staging") or ("",))[0] == "failure"


def test_no_secret_and_no_command_gets_into_the_status_of_pins_that_are_not_valid(road: Told) -> None:
    commit = push_invalid(road, 'environment: "\\e[31mhunter2hunter2 ::set-output name=x::y @everyone"\n')
    _, description = road.status(commit, "staging") or ("", "")
    assert "hunter2" not in description
    assert description.isprintable()
    assert len(description) <= 140


def test_a_registry_that_is_away_is_pending_until_it_is_back(road: Told) -> None:
    road.flow.registry.reachable = False
    commit = road.pin(2, 1)
    road.run()
    road.deliver()
    waits = ("pending", "churn-model v2 waits: the registry did not answer")
    assert road.status(commit, "staging") == waits
    road.run("timer")
    assert road.deliver() == 0, "once"
    road.flow.registry.reachable = True
    road.run("timer")
    road.deliver()
    assert road.status(commit, "staging") == ("success", "churn-model v2 is live")


def test_a_registry_that_is_back_at_a_later_commit_leaves_nothing_pending_behind(road: Told) -> None:
    road.flow.registry.reachable = False
    commit = road.pin(2, 1)
    road.run()
    later = road.origin.commit({"README.md": "hello"})
    road.run()
    road.flow.registry.reachable = True
    road.run("timer")
    road.deliver()
    assert road.status(later, "staging") == ("success", "churn-model v2 is live")
    assert road.status(commit, "staging") == ("success", f"churn-model v2 is live (at {later[:7]})")


def test_what_waited_for_the_registry_and_is_taken_back_is_said_to_be_over(road: Told) -> None:
    road.flow.registry.reachable = False
    commit = road.pin(2, 1)
    road.run()
    back = road.pin(1, 1)
    road.run()
    road.deliver()
    assert road.status(back, "staging") == ("success", "churn-model v1 is live")
    assert road.status(commit, "staging") == ("error", f"followed by {back[:7]}")


def test_drift_that_is_left_alone_is_no_success(tmp_path: Path, github: FakeGitHub, url: str) -> None:
    road = Told(tmp_path, url, github)
    road.register("long")
    road.pin(1, 1)
    road.run()
    road.services = road.without_healing()
    road.flow.registry.set_alias("churn-model", "staging", None)
    commit = road.origin.commit({STAGING_FILE: road.flow.files(1, 1)[STAGING_FILE] + b"# a thought\n"})
    road.run()
    road.deliver()
    state, description = road.status(commit, "staging") or ("", "")
    assert (state, description.partition(": ")[2][:20]) == ("pending", "PINRAIL_HEAL is off,")
    road.flow.registry.set_alias("churn-model", "staging", 1)
    road.run("timer")
    road.deliver()
    assert road.status(commit, "staging") == ("success", "churn-model v1 is live")


def test_a_newcomer_that_has_to_wait_for_its_port_is_pending(road: Told) -> None:
    road.flow.registry.models["a-model"] = {1: replace(road.flow.registry.models[MODEL][1], stage="None")}
    road.flow.registry.aliases["a-model"] = {}
    renamed = road.flow.files(1, 1)["environments/production.yaml"].decode().replace(MODEL, "a-model")
    waived = 'port: 8001, override: {version: 1, reason: "the same under another name"}'
    commit = road.origin.commit({"environments/production.yaml": renamed.replace("port: 8001", waived)})
    road.run()
    road.deliver()
    assert (road.status(commit, "production") or ("",))[0] == "pending"
    road.run("timer")
    road.deliver()
    assert (road.status(commit, "production") or ("",))[0] == "success"


def test_an_environment_without_models_is_in_sync(road: Told) -> None:
    road.origin.commit(dict(road.flow.files(1, None)))
    road.run()
    commit = road.origin.commit(
        {"environments/production.yaml": road.flow.files(1, None)["environments/production.yaml"] + b"#\n"}
    )
    road.run()
    road.deliver()
    assert road.status(commit, "production") == ("success", "no model is pinned here")


def test_killed_before_it_is_told_a_head_is_told_after_the_restart(
    road: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.flow.prober.tired.add(2)
    road.pin(2, 1)
    road.run()
    back = road.pin(1, 1)

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(road.services.journal, "tell", die)
        with pytest.raises(Killed):
            road.run()
    road.run("startup")
    road.deliver()
    assert road.status(back, "staging") == ("success", "churn-model v1 is live")


def test_the_same_failure_at_a_later_commit_is_told_there_too(road: Told) -> None:
    road.flow.target.broken = frozenset({2})
    road.pin(2, 1)
    road.run()
    later = road.origin.commit({"README.md": "hello"})
    road.run()
    road.deliver()
    assert (road.status(later, "staging") or ("",))[0] == "failure"
    assert road.deployments(later, "staging") == ["in_progress", "failure"]


def test_healing_while_a_commit_changes_nothing_is_told_as_in_sync(road: Told) -> None:
    road.flow.target.die(next(s for s in road.flow.target.observe() if s.spec.slot == STAGING))
    commit = road.origin.commit({STAGING_FILE: road.flow.files(1, 1)[STAGING_FILE] + b"# a thought\n"})
    road.run()
    road.deliver()
    assert road.status(commit, "staging") == ("success", "churn-model v1 is live")
