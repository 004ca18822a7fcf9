import time

import pytest

from receiver.adapters.github import client as github_api
from receiver.adapters.github.client import GitHubClient, Moved, NotFound
from receiver.core.errors import Rejected, Retryable
from tests.support.github_server import TOKEN, FakeGitHub, Fault, serving
from tests.support.github_spec import require_description

require_description()

PULLS = "/repos/{owner}/{repo}/pulls"


def test_a_list_is_read_over_all_its_pages(github: FakeGitHub, client: GitHubClient) -> None:
    for number in range(70):
        github.open_pull(f"branch-{number}")
    found = client.pages(PULLS + "{?per_page}", per_page=30)
    assert len(found) == 70
    assert len(github.calls) == 3


@pytest.mark.parametrize(
    ("fault", "wait"),
    [
        (Fault(500), None),
        (Fault(502, body=b"<html>", content_type="text/html"), None),
        (Fault(503, {"Retry-After": "7"}), 7.0),
        (Fault(429), 60.0),
        (Fault(429, {"Retry-After": "9"}), 9.0),
        (Fault(403, {"Retry-After": "11"}), 11.0),
        (Fault(403, {"Retry-After": "1e400"}), 3600.0),
        (Fault(403, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), 60.0),
        (Fault(429, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999"}), 3600.0),
        (Fault(403, body=b'{"message": "You have exceeded a secondary rate limit."}'), 60.0),
        (Fault(200, body=b"<html>", content_type="text/html"), None),
        (Fault(200, body=b"{"), None),
        (Fault(200, body=b"\xff\xfe"), None),
        (Fault(lost=True), None),
    ],
)
def test_what_may_pass_is_worth_another_try_when_github_says(
    github: FakeGitHub, client: GitHubClient, fault: Fault, wait: float | None
) -> None:
    github.faults.append(fault)
    with pytest.raises(Retryable) as caught:
        client.get(PULLS)
    assert caught.value.after == wait
    assert client.get(PULLS) == []


@pytest.mark.parametrize("status", [403, 429])
def test_a_spent_rate_limit_is_worth_another_try_after_its_reset(
    github: FakeGitHub, client: GitHubClient, status: int
) -> None:
    reset = {
        "X-RateLimit-Limit": "5000",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(time.time()) + 90),
    }
    github.faults.append(Fault(status, reset))
    with pytest.raises(Retryable) as caught:
        client.get(PULLS)
    assert caught.value.after is not None
    assert 60 < caught.value.after <= 90


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (Fault(401), "GITHUB_TOKEN is missing, wrong or expired"),
        (Fault(403, {"X-Accepted-GitHub-Permissions": "pull_requests=write"}), "more rights (pull_requests=write)"),
        (Fault(404), "Is octo/pins right, and may GITHUB_TOKEN see it?"),
        (Fault(422, body=b'{"message": "Validation Failed", "errors": [{"message": "No commits"}]}'), "No commits"),
    ],
)
def test_what_will_not_pass_is_refused_with_what_to_do(
    github: FakeGitHub, client: GitHubClient, fault: Fault, advice: str
) -> None:
    github.faults.append(fault)
    with pytest.raises(Rejected) as caught:
        client.get(PULLS)
    assert advice in str(caught.value)


def test_a_repository_that_was_renamed_or_moved_is_refused_with_its_new_name(
    github: FakeGitHub, client: GitHubClient
) -> None:
    moved = Fault(301, {"Location": f"{github.url}/repositories/42/pulls"}, body=b'{"message": "Moved Permanently"}')
    github.faults += [moved, Fault(200, body=b'{"full_name": "cephalo/pod"}')]
    with pytest.raises(Moved, match=r"octo/pins was renamed or moved to cephalo/pod: set PINRAIL_REPO_URL"):
        client.get(PULLS)
    github.faults += [moved, Fault(404)]
    with pytest.raises(Moved, match=r"octo/pins was renamed or moved: set PINRAIL_REPO_URL"):
        client.post(PULLS, {})
    assert github.calls == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_token_does_not_follow_a_redirect_to_another_host(
    github: FakeGitHub, client: GitHubClient, status: int
) -> None:
    other = FakeGitHub()
    with serving(other) as elsewhere:
        github.faults.append(Fault(status, {"Location": f"{elsewhere}/repositories/42/pulls"}))
        with pytest.raises(Rejected, match=r"answers with a redirect to .*: set GITHUB_API_URL"):
            client.get(PULLS)
        github.faults.append(
            Fault(200, {"Link": f'<{elsewhere}/repos/octo/pins/pulls?page=2>; rel="next"'}, body=b"[]")
        )
        with pytest.raises(Rejected, match=r"GitHub refers to another host"):
            client.pages(PULLS)
    assert other.calls == []


def test_what_is_not_there_can_be_distinguished_from_what_is_refused(client: GitHubClient) -> None:
    with pytest.raises(NotFound):
        client.get(PULLS + "/{number}", number=9)


def test_a_github_that_does_not_answer_is_given_up_after_the_deadline(
    client: GitHubClient, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_api, "CALL_SECONDS", 0.0)
    with pytest.raises(Retryable, match="could not be asked"):
        client.get(PULLS)


def test_a_github_that_is_not_there_is_worth_another_try() -> None:
    with pytest.raises(Retryable, match="could not be asked"):
        GitHubClient("o/r", TOKEN, "http://127.0.0.1:9").get(PULLS)


def test_a_token_is_in_no_error_even_where_the_server_repeats_it(github: FakeGitHub, client: GitHubClient) -> None:
    for status in (401, 403, 404, 422, 500):
        github.faults.append(Fault(status, body=f'{{"message": "token {TOKEN} \\u001b[31m\\n::x::"}}'.encode()))
        with pytest.raises((Rejected, Retryable)) as caught:
            client.get(PULLS)
        assert TOKEN not in str(caught.value)
        assert str(caught.value).isprintable()


def test_names_are_filled_in_so_that_they_stay_in_their_place(github: FakeGitHub, client: GitHubClient) -> None:
    with pytest.raises(Retryable):
        client.get(PULLS + "/{number}", number="../../other/repo?x=1#y")
    assert github.calls == ["GET /repos/{owner}/{repo}/pulls/{pull_number}"]
    assert "'../../other/repo?x=1#y' is not of type 'integer'" in github.problems.pop()


def test_an_error_names_the_call_as_it_was_made(github: FakeGitHub, client: GitHubClient) -> None:
    github.faults.append(Fault(422, body=b'{"message": "Validation Failed"}'))
    with pytest.raises(Rejected, match=r"^GitHub answered 422 to GET /repos/octo/pins/pulls/7: "):
        client.get(PULLS + "/{number}{?state,head,base}", number=7, state="open")
