"""Pull requests on GitHub, and the one comment that is ours on each. Every write is safe to repeat."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from receiver.adapters.github.client import GitHubClient
from receiver.core.errors import Rejected

MAX_BODY = 65_536  # characters; GitHub refuses more
BOT = "Bot"  # the type of an app's user
METHODS = ("merge", "squash", "rebase")
# What GitHub says where the settings of the repository, or of the branch, want another method.
OTHER_METHOD = re.compile(r"merge commits|merges are not allowed", re.IGNORECASE)
PULLS = "/repos/{owner}/{repo}/pulls"
COMMENTS = "/repos/{owner}/{repo}/issues/{number}/comments"
COMMENT = "/repos/{owner}/{repo}/issues/comments/{id}"


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull request. Titles and branches of a fork's are strangers' text."""

    number: int
    title: str
    body: str
    url: str  # for people
    state: str  # open | closed
    merged: bool
    head: str  # commit
    branch: str
    base: str  # branch
    fork: bool  # the head is in another repository, or in one that is gone

    @classmethod
    def read(cls, data: dict[str, Any]) -> "Pull":
        """From GitHub's representation, as in its API and its webhooks."""
        source = data["head"]["repo"]
        return cls(
            number=data["number"],
            title=data["title"],
            body=(data["body"] or "").replace("\r\n", "\n"),
            url=data["html_url"],
            state=data["state"],
            merged=data.get("merged_at") is not None,
            head=data["head"]["sha"],
            branch=data["head"]["ref"],
            base=data["base"]["ref"],
            fork=source is None or source["full_name"] != data["base"]["repo"]["full_name"],
        )


@dataclass(frozen=True, slots=True)
class PullRequestSpec:
    """What a pull request should be."""

    branch: str
    base: str
    title: str
    body: str


class Pulls:
    """The pull requests of one repository."""

    def __init__(self, client: GitHubClient) -> None:
        self._client = client
        self._author: int | str | None = None  # asked for once

    def open_or_update(self, spec: PullRequestSpec) -> Pull:
        """The open pull request of that branch, with that title and body; opened where there is none."""
        existing = self._of(spec.branch, spec.base)
        if existing is None:
            try:
                wanted = {"head": spec.branch, "base": spec.base, "title": spec.title}
                return Pull.read(self._client.post(PULLS, {**wanted, "body": shortened(spec.body)}))
            except Rejected:
                existing = self._of(spec.branch, spec.base)  # somebody may have opened it meanwhile
                if existing is None:
                    raise
        if (existing.title, existing.body) == (spec.title, shortened(spec.body)):
            return existing
        return self._change(existing.number, title=spec.title, body=shortened(spec.body))

    def has_open(self, branch: str, base: str) -> bool:
        """Whether a branch of this repository has an open pull request."""
        return self._of(branch, base) is not None

    def opened(self, base: str) -> list[Pull]:
        """All open pull requests into a branch."""
        path = PULLS + "{?state,base,per_page}"
        return [Pull.read(data) for data in self._client.pages(path, state="open", base=base, per_page=100)]

    def declined(self, branch: str, base: str) -> list[Pull]:
        """Those of a branch of this repository that were closed without a merge."""
        return [pull for pull in self._closed(branch, base) if not pull.merged]

    def merged(self, branch: str, base: str) -> list[Pull]:
        """Those of a branch of this repository that were merged."""
        return [pull for pull in self._closed(branch, base) if pull.merged]

    def get(self, number: int) -> Pull:
        """One pull request. NotFound: there is none."""
        return Pull.read(self._client.get(PULLS + "/{number}", number=number))

    def changed_paths(self, number: int) -> Sequence[str]:
        """The paths that it touches, old names of renamed files included."""
        found = self._client.pages(PULLS + "/{number}/files{?per_page}", number=number, per_page=100)
        return [name for file in found for name in (file["filename"], file.get("previous_filename")) if name]

    def close(self, number: int, why: str, body: str | None = None) -> None:
        """Close it and say why; one that is closed already is left alone. ``body`` takes the place of its text."""
        if self.get(number).state == "open":
            self.comment(number, "closed", why)
            self._change(number, state="closed", **({} if body is None else {"body": shortened(body)}))

    def merge(self, pull: Pull, title: str) -> None:
        """Merge exactly the commit that was looked at, in the first way that the repository's settings allow.

        Rejected: it cannot be merged, or has moved on since.
        """
        if self.get(pull.number).merged:
            return
        wanted = {"sha": pull.head, "commit_title": title}
        for method in METHODS:
            try:
                self._client.put(PULLS + "/{number}/merge", {**wanted, "merge_method": method}, number=pull.number)
            except Rejected as error:
                if method == METHODS[-1] or not OTHER_METHOD.search(str(error)):
                    raise
            else:
                return

    def comment(self, number: int, marker: str, body: str) -> str:
        """Have exactly one comment with this ``marker`` (a word) on the pull request. Returns its URL."""
        sign = f"<!-- pinrail:{marker} -->\n"
        text = sign + shortened(body, MAX_BODY - len(sign))
        listed = self._client.pages(COMMENTS + "{?per_page}", number=number, per_page=100)
        ours = [c for c in listed if _is_signed(c, sign) and self._is_ours(c)]
        if not ours:
            comment = self._client.post(COMMENTS, {"body": text}, number=number)
        elif ours[0]["body"].replace("\r\n", "\n") == text:
            comment = ours[0]
        else:
            comment = self._client.patch(COMMENT, {"body": text}, id=ours[0]["id"])
        url: str = comment["html_url"]
        return url

    def _closed(self, branch: str, base: str) -> list[Pull]:
        path, head = PULLS + "{?state,head,base,per_page}", f"{self._client.owner}:{branch}"
        found = [Pull.read(d) for d in self._client.pages(path, state="closed", head=head, base=base, per_page=100)]
        return [pull for pull in found if not pull.fork]

    def _is_ours(self, comment: dict[str, Any]) -> bool:
        """Whether the token's user wrote it: anybody may write our marker."""
        if self._author is None:
            self._author = self._ask_for_author()
        author = comment["user"] or {}
        return self._author in (author.get("id"), author.get("type"))

    def _ask_for_author(self) -> int | str:
        """The id of the token's user. An app's token has none: GitHub refuses, and only the type of user is known."""
        try:
            return int(self._client.get("/user")["id"])
        except Rejected:
            return BOT

    def _of(self, branch: str, base: str) -> Pull | None:
        found = self._client.get(
            PULLS + "{?state,head,base}",
            state="open",
            head=f"{self._client.owner}:{branch}",
            base=base,
        )
        # An organisation's forks of its own repositories have the same owner.
        return next((pull for pull in map(Pull.read, found) if not pull.fork), None)

    def _change(self, number: int, **fields: str) -> Pull:
        return Pull.read(self._client.patch(PULLS + "/{number}", fields, number=number))


def shortened(body: str, limit: int = MAX_BODY) -> str:
    """The text, or as much of it as GitHub takes."""
    note = "\n\n(shortened)"
    return body if len(body) <= limit else body[: limit - len(note)] + note


def _is_signed(comment: dict[str, Any], sign: str) -> bool:
    return (comment.get("body") or "").replace("\r\n", "\n").startswith(sign)
