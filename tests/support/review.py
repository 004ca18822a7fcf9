"""A repository on GitHub whose pull requests are reviewed: fake flow, real git, GitHub judged by its description."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from receiver.adapters.git.mirror import GitSource
from receiver.adapters.github.client import GitHubClient
from receiver.adapters.github.pulls import Pulls
from receiver.adapters.github.statuses import Statuses
from receiver.core.redact import Redactor
from receiver.pull_requests.reviewer import GitHub, Reviewer
from tests.support.flow import Flow
from tests.support.git_repos import Origin, git
from tests.support.github_server import TOKEN, FakeGitHub, serving


class Review:
    """Short names for what tests do; ``flow`` deploys what is on main."""

    def __init__(self, directory: Path, flow: Flow, origin: Origin, github: FakeGitHub) -> None:
        self.flow = flow
        self.origin = origin
        self.hosted = github
        client = GitHubClient(github.repository, TOKEN, github.url)
        self.source = GitSource(origin.url, "main", directory / "proposals.git")
        self.github = GitHub(
            self.source,
            Pulls(client),
            Statuses(client),
            "main",
            Redactor(["a-secret-of-the-receiver", "its_other*secret|x"]),
        )
        self.reviewer = Reviewer(flow.services, self.github)
        self._branches = 0

    def restart(self) -> None:
        """The receiver ends, and another one starts that remembers nothing."""
        self.reviewer = Reviewer(self.flow.services, self.github)

    def merge(self, files: Mapping[str, str | bytes | None]) -> str:
        """Commit to main, and let the receiver deploy it."""
        commit = self.origin.commit(files)
        snapshot = {name: raw for name, raw in files.items() if isinstance(raw, bytes)}
        self.flow.source.commit(snapshot)
        self.flow.run()
        return commit

    def open(self, files: Mapping[str, str | bytes | None], branch: str = "") -> int:
        """Open a pull request from the present main."""
        self._branches += 1
        branch = branch or f"contribution-{self._branches}"
        start = self.origin.head()
        number = self.hosted.open_pull(branch)
        self.hosted.files[number] = [{"filename": name} for name in files]
        self._push(number, branch, start, files)
        return number

    def push(self, number: int, files: Mapping[str, str | bytes | None]) -> None:
        """Push another commit to a pull request."""
        branch = self.hosted.pulls[number]["head"]
        self._push(number, branch, self.origin.head(f"refs/heads/{branch}"), files)

    def _push(self, number: int, branch: str, start: str, files: Mapping[str, str | bytes | None]) -> None:
        git(self.origin.work, "reset", "--hard", "--quiet", start)
        self.origin.branch = branch
        commit = self.origin.commit(files)
        git(self.origin.path, "update-ref", f"refs/pull/{number}/head", commit)
        self.origin.branch = "main"
        git(self.origin.work, "reset", "--hard", "--quiet", self.origin.head())

    @contextmanager
    def lagging(self, number: int, head: str | None) -> Iterator[None]:
        """GitHub's API knows a pull request, whose ref in git is still at another head, or not there yet."""
        ref = f"refs/pull/{number}/head"
        git(self.origin.path, "symbolic-ref", "--delete", ref)
        if head is not None:
            git(self.origin.path, "update-ref", ref, head)
        yield
        git(self.origin.path, "symbolic-ref", ref, f"refs/heads/{self.hosted.pulls[number]['head']}")

    def run_plans(self) -> float:
        return self.reviewer.run(threading.Event())

    def comments(self, number: int) -> list[str]:
        return [c["shown"]["body"] for c in self.hosted.comments.values() if c["on"] == number]

    def comment(self, number: int) -> str:
        (only,) = self.comments(number)
        return str(only)

    def status(self, number: int) -> tuple[str, str]:
        """State and description of the plan at the pull request's head."""
        head = self.hosted.head_of(self.hosted.pulls[number]["head"])
        said = [s for s in self.hosted.statuses if s["sha"] == head and s["context"] == "pinrail/plan"]
        return said[-1]["state"], said[-1]["description"]


@contextmanager
def reviewing(directory: Path, soak: str = "0s") -> Iterator[Review]:
    """Versions 1 to 3 are registered with evidence, and 1 is live everywhere."""
    flow = Flow(directory / "state", soak=soak)
    flow.register(1, 2, 3)
    origin = Origin(directory / "git")
    github = FakeGitHub(origin=origin)
    with serving(github):
        review = Review(directory, flow, origin, github)
        review.merge(flow.files(1, 1))
        yield review
