import pytest

from receiver.adapters.github.client import GitHubClient, NotFound
from receiver.adapters.github.hooks import HookDelivery, Hooks
from receiver.core.errors import Rejected
from tests.support.github_server import FakeGitHub, Fault
from tests.support.github_spec import require_description

require_description()

URL = "https://one.example.com/webhooks/github"
SECRET = "a secret of the hook"


@pytest.fixture
def hooks(client: GitHubClient) -> Hooks:
    return Hooks(client)


def test_a_hook_is_made_with_the_right_content_type_secret_and_events(github: FakeGitHub, hooks: Hooks) -> None:
    hook = github.hooks[hooks.ensure(URL, SECRET)]
    assert hook["config"]["url"] == URL
    assert (hook["config"]["content_type"], hook["config"]["insecure_ssl"]) == ("json", "0")
    assert (hook["events"], hook["active"]) == (["push", "pull_request"], True)


def test_the_same_url_keeps_its_hook(github: FakeGitHub, hooks: Hooks) -> None:
    assert hooks.ensure(URL, SECRET) == hooks.ensure(URL, SECRET)
    assert len(github.hooks) == 1


def test_a_known_hook_moves_to_the_new_url(github: FakeGitHub, hooks: Hooks) -> None:
    known = hooks.ensure(URL, SECRET)
    assert hooks.ensure(URL.replace("one", "two"), SECRET, known) == known
    assert [hook["config"]["url"] for hook in github.hooks.values()] == [URL.replace("one", "two")]


def test_a_hook_that_was_removed_is_made_again(github: FakeGitHub, hooks: Hooks) -> None:
    known = hooks.ensure(URL, SECRET)
    del github.hooks[known]
    assert hooks.ensure(URL, SECRET, known) != known
    assert len(github.hooks) == 1


def test_a_switched_off_hook_is_switched_on(github: FakeGitHub, hooks: Hooks) -> None:
    known = hooks.ensure(URL, SECRET)
    github.hooks[known] |= {"active": False, "events": ["push"]}
    hooks.ensure(URL, SECRET, known)
    assert (github.hooks[known]["active"], len(github.hooks[known]["events"])) == (True, 2)


def test_other_peoples_hooks_are_not_touched(github: FakeGitHub, hooks: Hooks) -> None:
    other = hooks.ensure("https://ci.example.com/hook", "other")
    before = dict(github.hooks[other])
    hooks.ensure(URL, SECRET)
    assert github.hooks[other] == before


def test_a_token_that_may_not_administer_hooks_is_refused_with_what_it_needs(
    github: FakeGitHub, hooks: Hooks
) -> None:
    github.faults.append(Fault(403, {"X-Accepted-GitHub-Permissions": "repository_hooks=write"}))
    with pytest.raises(Rejected, match="repository_hooks=write"):
        hooks.ensure(URL, SECRET)


def test_the_newest_delivery_shows_whether_github_reaches_us(github: FakeGitHub, hooks: Hooks) -> None:
    known = hooks.ensure(URL, SECRET)
    assert hooks.last_delivery(known) is None
    guid = "0b989ba4-242f-11e5-81e1-c7b6966d2516"
    newest = {"guid": guid, "event": "push", "status": "Invalid HTTP Response: 404", "status_code": 404}
    github.deliveries[known] = [newest | {"delivered_at": "2026-01-02T03:04:05Z"}, {"status": "OK"}]
    assert hooks.last_delivery(known) == HookDelivery(
        guid, "push", "2026-01-02T03:04:05Z", "Invalid HTTP Response: 404", 404
    )


def test_deliveries_of_a_hook_that_is_gone_are_not_found(hooks: Hooks) -> None:
    with pytest.raises(NotFound):
        hooks.last_delivery(4711)
