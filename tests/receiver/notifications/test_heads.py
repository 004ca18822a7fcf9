"""Every commit that changes the pins ends with a status that is true, also where nothing had to be deployed."""

from dataclasses import replace
from pathlib import Path

import pytest

from receiver.core.errors import Rejected
from tests.support.flow import MODEL
from tests.support.github_scenario import GitHubScenario
from tests.support.github_server import FakeGitHub
from tests.support.github_spec import require_description
from tests.support.killing import Killed
from tests.support.promotion_scenario import STAGING

require_description()

STAGING_FILE = "environments/staging.yaml"


def push_invalid(scenario: GitHubScenario, text: str | None = None) -> str:
    """Push a head whose pins are not valid, and have it looked at."""
    wrong = text or scenario.flow.files(1, 1)[STAGING_FILE].decode().replace("version: 1", "version: 010")
    commit = scenario.origin.commit({STAGING_FILE: wrong})
    with pytest.raises(Rejected):
        scenario.run()
    scenario.deliver()
    return commit


def test_the_merge_of_a_revert_is_a_success_though_nothing_is_left_to_deploy(scenario: GitHubScenario) -> None:
    scenario.flow.prober.slow_watch.add(2)
    scenario.pin(2, 1)
    scenario.run()
    scenario.deliver()
    back = scenario.pin(1, 1)
    assert not scenario.run().outcomes
    scenario.deliver()
    assert scenario.status(back, "staging") == ("success", "churn-model v1 is live")
    assert scenario.status(back, "production") is None, "its file is as it was"
    scenario.run("timer")
    assert scenario.deliver() == 0


def test_a_wait_that_a_revert_ends_is_said_to_be_over(tmp_path: Path, github: FakeGitHub, url: str) -> None:
    scenario = GitHubScenario(tmp_path, url, github, soak="30m")
    scenario.register("long", "long")
    scenario.pin(1, 1)
    scenario.run()
    with scenario.flow.database.transaction() as db:
        db.execute("UPDATE deployments SET ended_at = ended_at - 1801")
    scenario.run("timer")
    waiting = scenario.pin(2, 2)
    scenario.run()
    scenario.deliver()
    assert (scenario.status(waiting, "production") or ("",))[0] == "pending"
    back = scenario.pin(2, 1)
    scenario.run()
    scenario.deliver()
    assert scenario.status(back, "production") == ("success", "churn-model v1 is live")
    assert scenario.status(waiting, "production") == ("error", f"churn-model: followed by {back[:7]}")
    assert scenario.deployments(waiting, "production") == ["queued", "inactive"]


def test_pins_that_are_not_valid_are_a_failure_everywhere_with_file_line_and_what_is_allowed(
    scenario: GitHubScenario,
) -> None:
    commit = push_invalid(scenario)
    for environment in ("staging", "production"):
        state, description = scenario.status(commit, environment) or ("", "")
        assert state == "failure"
        assert description.startswith("environments/staging.yaml:5: models.churn-model.version: found '010', allowed")
    with pytest.raises(Rejected):
        scenario.run("timer")
    assert scenario.deliver() == 0, "once"


def test_each_environment_reports_its_own_error_first(scenario: GitHubScenario) -> None:
    files = {path: raw.replace(b"version: 1", b"version: 010") for path, raw in scenario.flow.files(1, 1).items()}
    commit = scenario.origin.commit(dict(files))
    with pytest.raises(Rejected):
        scenario.run()
    scenario.deliver()
    for environment in ("staging", "production"):
        _, description = scenario.status(commit, environment) or ("", "")
        assert description.startswith(f"1 of 2: environments/{environment}.yaml:")


def test_the_next_valid_commit_is_a_success_everywhere_also_where_it_changed_nothing(
    scenario: GitHubScenario,
) -> None:
    push_invalid(scenario)
    repaired = scenario.pin(1, 1)
    assert not scenario.run().outcomes
    scenario.deliver()
    for environment in ("staging", "production"):
        assert scenario.status(repaired, environment) == ("success", "churn-model v1 is live")


def test_a_head_that_is_still_not_valid_says_so_again(scenario: GitHubScenario) -> None:
    push_invalid(scenario)
    later = scenario.origin.commit({"README.md": "hello"})
    with pytest.raises(Rejected):
        scenario.run()
    scenario.deliver()
    assert (scenario.status(later, "staging") or ("",))[0] == "failure"


def test_a_symbolic_link_in_place_of_a_file_is_a_failure(scenario: GitHubScenario) -> None:
    commit = scenario.origin.commit_entry(STAGING_FILE, "120000", scenario.origin.blob(b"/etc/passwd"))
    with pytest.raises(Rejected):
        scenario.run()
    scenario.deliver()
    assert scenario.status(commit, "staging") == (
        "failure",
        "environments/staging.yaml: found a symbolic link, allowed a regular file: commit the file itself",
    )


def test_a_first_head_that_is_not_valid_reports_where_the_error_is(
    tmp_path: Path, github: FakeGitHub, url: str
) -> None:
    scenario = GitHubScenario(tmp_path, url, github)
    commit = push_invalid(scenario, "environment: [")
    assert (scenario.status(commit, "staging") or ("",))[0] == "failure"


def test_no_secret_and_no_command_gets_into_the_status_of_pins_that_are_not_valid(scenario: GitHubScenario) -> None:
    commit = push_invalid(scenario, 'environment: "\\e[31mhunter2hunter2 ::set-output name=x::y @everyone"\n')
    _, description = scenario.status(commit, "staging") or ("", "")
    assert "hunter2" not in description
    assert description.isprintable()
    assert len(description) <= 140


def test_a_registry_that_is_away_is_pending_until_it_is_back(scenario: GitHubScenario) -> None:
    scenario.flow.registry.reachable = False
    commit = scenario.pin(2, 1)
    scenario.run()
    scenario.deliver()
    waits = ("pending", "churn-model v2 waits: the registry did not answer")
    assert scenario.status(commit, "staging") == waits
    scenario.run("timer")
    assert scenario.deliver() == 0, "once"
    scenario.flow.registry.reachable = True
    scenario.run("timer")
    scenario.deliver()
    assert scenario.status(commit, "staging") == ("success", "churn-model v2 is live")


def test_a_registry_that_is_back_at_a_later_commit_leaves_nothing_pending_behind(scenario: GitHubScenario) -> None:
    scenario.flow.registry.reachable = False
    commit = scenario.pin(2, 1)
    scenario.run()
    later = scenario.origin.commit({"README.md": "hello"})
    scenario.run()
    scenario.flow.registry.reachable = True
    scenario.run("timer")
    scenario.deliver()
    assert scenario.status(later, "staging") == ("success", "churn-model v2 is live")
    assert scenario.status(commit, "staging") == ("success", f"churn-model v2 is live (at {later[:7]})")


def test_what_waited_for_the_registry_and_is_taken_back_is_said_to_be_over(scenario: GitHubScenario) -> None:
    scenario.flow.registry.reachable = False
    commit = scenario.pin(2, 1)
    scenario.run()
    back = scenario.pin(1, 1)
    scenario.run()
    scenario.deliver()
    assert scenario.status(back, "staging") == ("success", "churn-model v1 is live")
    assert scenario.status(commit, "staging") == ("error", f"followed by {back[:7]}")


def test_drift_that_is_left_alone_is_no_success(tmp_path: Path, github: FakeGitHub, url: str) -> None:
    scenario = GitHubScenario(tmp_path, url, github)
    scenario.register("long")
    scenario.pin(1, 1)
    scenario.run()
    scenario.services = scenario.without_healing()
    scenario.flow.registry.set_alias("churn-model", "staging", None)
    commit = scenario.origin.commit({STAGING_FILE: scenario.flow.files(1, 1)[STAGING_FILE] + b"# a thought\n"})
    scenario.run()
    scenario.deliver()
    state, description = scenario.status(commit, "staging") or ("", "")
    assert (state, description.partition(": ")[2][:20]) == ("pending", "PINRAIL_HEAL is off,")
    scenario.flow.registry.set_alias("churn-model", "staging", 1)
    scenario.run("timer")
    scenario.deliver()
    assert scenario.status(commit, "staging") == ("success", "churn-model v1 is live")


def test_a_new_version_that_has_to_wait_for_its_port_is_pending(scenario: GitHubScenario) -> None:
    scenario.flow.registry.models["a-model"] = {1: replace(scenario.flow.registry.models[MODEL][1], stage="None")}
    scenario.flow.registry.aliases["a-model"] = {}
    renamed = scenario.flow.files(1, 1)["environments/production.yaml"].decode().replace(MODEL, "a-model")
    waived = 'port: 8001, override: {version: 1, reason: "the same under another name"}'
    commit = scenario.origin.commit({"environments/production.yaml": renamed.replace("port: 8001", waived)})
    scenario.run()
    scenario.deliver()
    assert (scenario.status(commit, "production") or ("",))[0] == "pending"
    scenario.run("timer")
    scenario.deliver()
    assert (scenario.status(commit, "production") or ("",))[0] == "success"


def test_an_environment_without_models_is_in_sync(scenario: GitHubScenario) -> None:
    scenario.origin.commit(dict(scenario.flow.files(1, None)))
    scenario.run()
    commit = scenario.origin.commit(
        {"environments/production.yaml": scenario.flow.files(1, None)["environments/production.yaml"] + b"#\n"}
    )
    scenario.run()
    scenario.deliver()
    assert scenario.status(commit, "production") == ("success", "no model is pinned here")


def test_killed_before_it_is_published_a_head_is_published_after_the_restart(
    scenario: GitHubScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario.flow.prober.slow_watch.add(2)
    scenario.pin(2, 1)
    scenario.run()
    back = scenario.pin(1, 1)

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(scenario.services.journal, "publish", die)
        with pytest.raises(Killed):
            scenario.run()
    scenario.run("startup")
    scenario.deliver()
    assert scenario.status(back, "staging") == ("success", "churn-model v1 is live")


def test_the_same_failure_at_a_later_commit_is_reported_there_too(scenario: GitHubScenario) -> None:
    scenario.flow.target.broken = frozenset({2})
    scenario.pin(2, 1)
    scenario.run()
    later = scenario.origin.commit({STAGING_FILE: scenario.flow.files(2, 1)[STAGING_FILE] + b"# a thought\n"})
    scenario.run()
    scenario.deliver()
    assert (scenario.status(later, "staging") or ("",))[0] == "failure"
    assert scenario.deployments(later, "staging") == [], "it is not tried again"


def test_healing_while_a_commit_changes_nothing_is_shown_as_in_sync(scenario: GitHubScenario) -> None:
    scenario.flow.target.die(next(s for s in scenario.flow.target.observe() if s.spec.slot == STAGING))
    commit = scenario.origin.commit({STAGING_FILE: scenario.flow.files(1, 1)[STAGING_FILE] + b"# a thought\n"})
    scenario.run()
    scenario.deliver()
    assert scenario.status(commit, "staging") == ("success", "churn-model v1 is live")
