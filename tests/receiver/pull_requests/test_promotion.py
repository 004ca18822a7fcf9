import difflib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.adapters.git.command import Remote, parse_remote
from receiver.adapters.git.mirror import GitSource
from receiver.core.errors import Rejected, Retryable
from receiver.core.pins import read_pins
from receiver.pull_requests.promotion import (
    Author,
    Outdated,
    PinChange,
    Promotion,
    compare_link,
    local_author,
    push_promotion_branch,
)
from tests.support.git_repos import FILES, PRODUCTION, Origin, git, pinned
from tests.support.slow_ssh import slow_ssh

PATH = "environments/production.yaml"
BRANCH = "promote/churn-model-v6-to-production"
SIX = PinChange("churn-model", 6, "production")
ADA = Author("Ada", "ada@example.invalid")


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    origin = Origin(tmp_path)
    origin.commit({**FILES, "src/code.py": "1\n", PATH: pinned(PRODUCTION, 4)})
    return origin


@pytest.fixture
def remote(origin: Origin) -> Remote:
    return parse_remote(origin.url)


def proposed(remote: Remote, change: PinChange = SIX) -> Promotion:
    return push_promotion_branch(remote, "main", change, ADA)


def test_a_promotion_is_one_commit_that_changes_one_line(origin: Origin, remote: Remote) -> None:
    promotion = proposed(remote)
    assert (promotion.commit, promotion.branch, promotion.was) == (origin.head(BRANCH), BRANCH, 4)
    said = git(origin.path, "log", "-1", "--format=%B%an|%ae|%cn|%P", BRANCH).splitlines()
    assert said == [
        "Promote churn-model v6 to production (was v4)",
        f"Ada|ada@example.invalid|Ada|{origin.head('main')}",
    ]
    assert git(origin.path, "diff", "--name-only", "main", BRANCH) == PATH
    old, new = origin.text("main", PATH), origin.text(BRANCH, PATH)
    changed = [line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line[0] in "+-"]
    assert changed == ["-     version: 4 # pinned", "+     version: 6 # pinned"]


def test_the_base_branch_and_the_users_checkout_stay_as_they_are(
    origin: Origin, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = origin.head()
    (origin.work / PATH).write_text("half written")
    monkeypatch.chdir(origin.work)
    proposed(remote)
    assert origin.head() == head
    assert (origin.work / PATH).read_text() == "half written"
    assert origin.branches(origin.work) == ["main"]


def test_merging_the_promotion_is_what_pins_the_version(origin: Origin, remote: Remote) -> None:
    promotion = proposed(remote)
    files = {path: origin.text(promotion.commit, path).encode() for path in FILES}
    assert read_pins(files).pin("production", "churn-model").version == 6


def test_the_same_promotion_again_finds_the_branch_and_says_so(origin: Origin, remote: Remote) -> None:
    first, second = proposed(remote), proposed(remote)
    assert (first.existing, second.existing) == (False, True)
    assert first.commit == second.commit == origin.head(BRANCH)


def test_a_promotion_that_can_still_be_merged_is_not_disturbed_by_other_commits(
    origin: Origin, remote: Remote
) -> None:
    first = proposed(remote)
    origin.commit({"src/code.py": "2\n"})
    assert proposed(remote).commit == first.commit


def test_a_promotion_from_an_older_pin_is_made_anew(origin: Origin, remote: Remote) -> None:
    first = proposed(remote)
    origin.commit({PATH: pinned(PRODUCTION, 5)})
    second = proposed(remote)
    assert (second.existing, second.was) == (False, 5)
    assert second.commit == origin.head(BRANCH) != first.commit
    assert origin.head(f"{BRANCH}^") == origin.head()


def test_what_was_merged_and_reverted_can_be_promoted_again(origin: Origin, remote: Remote) -> None:
    first = proposed(remote)
    git(origin.work, "fetch", "--quiet", str(origin.path), BRANCH)
    origin.reset(first.commit)
    origin.commit({PATH: pinned(PRODUCTION, 4)}, "Revert")
    second = proposed(remote)
    assert not second.existing
    assert second.commit != first.commit


def test_what_was_squash_merged_and_promoted_over_is_cut_anew_from_the_head(origin: Origin, remote: Remote) -> None:
    first = proposed(remote)
    origin.commit({PATH: pinned(PRODUCTION, 6)}, "Squashed")
    origin.commit({PATH: pinned(PRODUCTION, 4)}, "Rolled back")
    second = proposed(remote)
    assert not second.existing
    assert origin.head(f"{BRANCH}^") == origin.head() != git(origin.path, "rev-parse", f"{first.commit}^")


@pytest.mark.parametrize("is_open", [True, False])
def test_a_branch_from_an_older_head_is_kept_only_while_its_pull_request_is_open(
    origin: Origin, remote: Remote, is_open: bool
) -> None:
    first = proposed(remote)
    assert push_promotion_branch(remote, "main", SIX, ADA, lambda: is_open).existing, "nothing has changed"
    head = origin.commit({"src/code.py": "2\n"})
    second = push_promotion_branch(remote, "main", SIX, ADA, lambda: is_open)
    assert second.existing is is_open
    assert origin.head(f"{BRANCH}^") == (git(origin.path, "rev-parse", f"{first.commit}^") if is_open else head)


@pytest.fixture
def slow(origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Remote, Path]:
    """A repository whose clone takes twice as long as git may otherwise take; and what each fetch carried."""
    origin.commit({"weights.bin": os.urandom(600_000)})
    command, carried = slow_ssh(tmp_path, 100_000)
    monkeypatch.setenv("GIT_SSH_COMMAND", command)
    monkeypatch.setattr("receiver.adapters.git.commits.NETWORK_SECONDS", 3.0)
    return parse_remote(f"ssh://git@example.invalid{origin.path}"), carried


def test_a_promotion_takes_from_the_mirror_what_is_there_and_fetches_the_rest_alone(
    origin: Origin, slow: tuple[Remote, Path], tmp_path: Path
) -> None:
    remote, carried = slow
    GitSource(remote.url, "main", tmp_path / "mirror.git").snapshot()
    head = origin.commit({"src/code.py": "2\n"})
    assert int(carried.read_text().split()[-1]) > 600_000
    carried.unlink()
    promotion = proposed(replace(remote, mirror=tmp_path / "mirror.git"))
    assert origin.head(f"{promotion.branch}^") == head
    assert sum(map(int, carried.read_text().split())) < 20_000
    assert proposed(replace(remote, mirror=tmp_path / "mirror.git")).existing


def test_without_a_mirror_a_promotion_has_the_patience_of_a_first_clone(
    origin: Origin, slow: tuple[Remote, Path], tmp_path: Path
) -> None:
    promotion = proposed(replace(slow[0], mirror=tmp_path / "not-there-yet.git"))
    assert origin.head(promotion.branch) == promotion.commit


def test_a_damaged_mirror_is_done_without(origin: Origin, remote: Remote, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror.git"
    GitSource(remote.url, "main", mirror).snapshot()
    trees = git(mirror, "rev-parse", "main^{tree}", "main:src").split()
    for tree in trees:
        (mirror / "objects" / tree[:2] / tree[2:]).unlink(missing_ok=True)
    shutil.rmtree(mirror / "objects" / "pack", ignore_errors=True)
    promotion = proposed(replace(remote, mirror=mirror))
    assert origin.head(f"{promotion.branch}^") == origin.head()


def test_a_branch_with_somebody_elses_commits_is_left_alone(origin: Origin, remote: Remote) -> None:
    origin.branch = BRANCH
    theirs = origin.commit({"src/code.py": "theirs\n"})
    with pytest.raises(Rejected, match="holds other changes"):
        proposed(remote)
    assert origin.head(BRANCH) == theirs


def test_a_version_that_is_pinned_already_is_refused(remote: Remote) -> None:
    with pytest.raises(Rejected, match="production pins churn-model v4 already"):
        proposed(remote, PinChange("churn-model", 4, "production"))


def test_a_change_that_was_asked_for_in_place_of_another_pin_is_outdated(origin: Origin, remote: Remote) -> None:
    with pytest.raises(Outdated, match="production pins churn-model v4 now, not v5"):
        proposed(remote, PinChange("churn-model", 3, "production", back=True, instead_of=5))
    assert origin.branches() == ["main"]
    assert proposed(remote, PinChange("churn-model", 3, "production", back=True, instead_of=4)).was == 4


def test_a_model_or_environment_that_is_not_there_is_refused_with_what_was_meant(remote: Remote) -> None:
    with pytest.raises(Rejected, match=r"no pin for 'churn-modle': did you mean churn-model\?"):
        proposed(remote, PinChange("churn-modle", 6, "production"))
    with pytest.raises(Rejected, match="no environment 'prod': known are staging, production"):
        proposed(remote, PinChange("churn-model", 6, "prod"))


def test_nothing_is_proposed_on_top_of_files_that_are_not_valid(origin: Origin, remote: Remote) -> None:
    origin.commit({"environments/staging.yaml": "environment: other\n"})
    with pytest.raises(Rejected, match=r"environments/staging\.yaml:1: "):
        proposed(remote)
    assert origin.branches() == ["main"]


def test_a_remote_that_cannot_be_reached_is_worth_another_try(tmp_path: Path) -> None:
    with pytest.raises(Retryable, match="cannot fetch main"):
        proposed(parse_remote(str(tmp_path / "nowhere.git")))


def test_a_push_that_the_remote_refuses_is_said_with_its_words(origin: Origin, remote: Remote) -> None:
    hook = origin.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'branches are frozen' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(Rejected, match=r"did not take the branch .*branches are frozen"):
        proposed(remote)


@pytest.mark.parametrize(
    ("model", "environment", "branch"),
    [
        ("a..b", "production", "promote/a.b-v6-to-production"),
        ("a", "prod.", "promote/a-v6-to-prod"),
        ("a", "prod.lock", "promote/a-v6-to-prod"),
    ],
)
def test_names_that_no_branch_may_have_are_bent_into_one(model: str, environment: str, branch: str) -> None:
    assert PinChange(model, 6, environment).branch == branch


def test_going_back_is_proposed_in_its_own_words(origin: Origin, remote: Remote) -> None:
    promotion = proposed(remote, PinChange("churn-model", 3, "production", back=True))
    assert promotion.branch == "rollback/churn-model-v3-in-production"
    assert promotion.title == "Roll churn-model back to v3 in production (was v4)"
    assert "version: 3 # pinned" in origin.text(promotion.branch, PATH)


@pytest.mark.parametrize(
    ("branch", "replaced"),
    [
        ("promote/churn-model-v5-to-production", True),
        ("promote/churn-model-v60-to-production", True),
        ("promote/churn-model-v6-to-production", False),
        ("promote/churn-model-v5-to-staging", False),
        ("promote/other-model-v5-to-production", False),
        ("promote/churn-model-vx-to-production", False),
        ("promote/my-churn-model-v5-to-production", False),
        ("rollback/churn-model-v5-in-production", False),
        ("x/promote/churn-model-v5-to-production", False),
    ],
)
def test_a_promotion_replaces_others_of_the_same_pin_alone(branch: str, replaced: bool) -> None:
    assert SIX.replaces(branch) is replaced


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://github.com/o/r.git", "https://github.com/o/r/compare/main...promote/x?expand=1"),
        ("git@github.com:o/r.git", "https://github.com/o/r/compare/main...promote/x?expand=1"),
        ("ssh://git@github.com/o/r", "https://github.com/o/r/compare/main...promote/x?expand=1"),
        ("https://github.com.example.org/o/r", None),
        ("file:///srv/github.com/o/r", None),
    ],
)
def test_a_compare_link_is_given_for_github_alone(url: str, link: str | None) -> None:
    assert compare_link(url, "main", "promote/x") == link


def test_the_author_is_who_the_users_git_says() -> None:
    assert local_author() == Author("Test", "test@example.invalid")


def test_without_a_user_the_author_is_pinrail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tuseConfigOnly = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    assert local_author() == Author("Pinrail", "pinrail@localhost")


def test_the_history_of_the_promoted_branch_is_whole(origin: Origin, remote: Remote, tmp_path: Path) -> None:
    proposed(remote)
    git(tmp_path, "clone", "--quiet", "--branch", BRANCH, origin.url, "clone")
    assert git(tmp_path / "clone", "fsck", "--strict", "--no-dangling") == ""
    assert (tmp_path / "clone" / "src" / "code.py").read_text() == "1\n"


def test_a_rolling_promotion_keeps_its_branch_from_version_to_version(origin: Origin) -> None:
    five, six = (PinChange("churn-model", version, "production", rolling=True) for version in (5, 6))
    first = push_promotion_branch(parse_remote(origin.url), "main", five, ADA)
    second = push_promotion_branch(parse_remote(origin.url), "main", six, ADA)
    assert first.branch == second.branch == "promote/churn-model-candidate-to-production"
    assert origin.text(second.branch, PATH).count("version: 6") == 1
    assert git(origin.path, "rev-list", "--count", f"main..{second.branch}") == "1"


def test_a_rolling_promotion_leaves_somebodys_own_commits_alone(origin: Origin) -> None:
    origin.branch = "promote/churn-model-candidate-to-production"
    origin.commit({PATH: pinned(PRODUCTION, 5), "README.md": "mine"})
    with pytest.raises(Rejected, match="holds other changes"):
        push_promotion_branch(
            parse_remote(origin.url), "main", PinChange("churn-model", 6, "production", rolling=True), ADA
        )


def test_a_promotion_of_one_version_takes_the_place_of_a_rolling_one_and_the_other_way_round() -> None:
    six = PinChange("churn-model", 6, "production")
    rolling = PinChange("churn-model", 6, "production", rolling=True)
    assert six.replaces(rolling.branch)
    assert rolling.replaces(six.branch)
    assert not rolling.replaces(rolling.branch)
