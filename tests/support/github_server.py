"""A GitHub on loopback: it keeps what it is told, and GitHub's own description judges each request and answer."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.git_repos import Origin, git
from tests.support.github_spec import Operation, spec

TOKEN = "ghp_aTokenThatMustNotBeShownAnywhere1234"
NOW = "2026-01-02T03:04:05Z"


@dataclass
class Fault:
    """What the next request meets instead of, or after, being served."""

    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"message": "no"}'
    content_type: str = "application/json; charset=utf-8"
    lost: bool = False  # served, but the connection ends before the answer


@dataclass(frozen=True)
class Refusal(Exception):  # noqa: N818 - it is an answer
    """An answer that is an error."""

    status: int
    message: str
    errors: tuple[dict[str, str], ...] = ()


class FakeGitHub:
    """One repository. Look at its attributes to see what was done to it."""

    def __init__(self, repository: str = "octo/pins", origin: Origin | None = None) -> None:
        self.repository = repository
        self.origin = origin
        self.calls: list[str] = []
        self.problems: list[str] = []
        self.faults: list[Fault | None] = []  # one per request to come; None: it meets none
        self.pulls: dict[int, dict[str, Any]] = {}
        self.files: dict[int, list[dict[str, Any]]] = {}
        self.comments: dict[int, dict[str, Any]] = {}
        self.statuses: list[dict[str, Any]] = []
        self.deployments: dict[int, dict[str, Any]] = {}
        self.deployment_statuses: dict[int, list[dict[str, Any]]] = {}
        self.hooks: dict[int, dict[str, Any]] = {}
        self.deliveries: dict[int, list[dict[str, Any]]] = {}
        self.refused_methods: dict[str, str] = {}  # of merging, and what GitHub says
        self.user: dict[str, Any] | None = {"id": 7, "type": "User"}  # of the token; None: it is an app's
        self.permissions = {"admin": True, "push": True, "pull": True}  # of the token's user
        self._ids = 100

    def writes(self) -> list[str]:
        """The calls that changed something."""
        return [call for call in self.calls if not call.startswith("GET ")]

    def serve(self, method: str, target: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Answer one request, judged on both sides."""
        parts = urlsplit(target)
        operation = spec().operation(method, parts.path)
        self.calls.append(operation.id)
        data = operation.check_request(parts.query, body)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        own = [operation.names.pop(name, "") for name in ("owner", "repo")]
        headers: dict[str, str] = {}
        try:
            routes = self._routes() if "/".join(own) == self.repository else {"GET /user": self._show_user}
            status, answer = routes.get(operation.id, _nothing)(operation, query, data)
            if isinstance(answer, list):
                answer, headers = self._page(answer, query, parts.path)
        except Refusal as error:
            status, answer = error.status, {"message": error.message, "documentation_url": "https://docs.github.com"}
            if error.errors:
                answer["errors"] = list(error.errors)
        operation.check_answer(status, answer)
        return status, answer, headers

    def pull(self, number: int) -> dict[str, Any]:
        if number not in self.pulls:
            raise Refusal(404, "Not Found")
        return self.pulls[number]

    def open_pull(self, head: str, base: str = "main", title: str = "A change", body: str | None = None) -> int:
        """Open a pull request, as a person would."""
        number = self._id()
        self.pulls[number] = {
            "head": head,
            "base": base,
            "title": title,
            "body": body,
            "state": "open",
            "merged": False,
            "fork": None,
        }
        if self.origin is not None:
            git(self.origin.path, "symbolic-ref", f"refs/pull/{number}/head", f"refs/heads/{head}")
        return number

    def head_of(self, branch: str) -> str:
        """The commit that a branch is at."""
        if self.origin is not None:
            return self.origin.head(f"refs/heads/{branch}")
        return hashlib.sha1(branch.encode(), usedforsecurity=False).hexdigest()

    def _routes(self) -> dict[str, Callable[[Operation, dict[str, str], Any], tuple[int, Any]]]:
        repo = "/repos/{owner}/{repo}"
        return {
            f"GET {repo}": self._show_repository,
            f"GET {repo}/pulls": self._list_pulls,
            f"POST {repo}/pulls": self._create_pull,
            f"GET {repo}/pulls/{{pull_number}}": lambda op, *_: (200, self._shown(op, 200)),
            f"PATCH {repo}/pulls/{{pull_number}}": self._change_pull,
            f"GET {repo}/pulls/{{pull_number}}/files": self._list_files,
            f"PUT {repo}/pulls/{{pull_number}}/merge": self._merge,
            f"GET {repo}/issues/{{issue_number}}/comments": self._list_comments,
            f"POST {repo}/issues/{{issue_number}}/comments": self._create_comment,
            f"PATCH {repo}/issues/comments/{{comment_id}}": self._change_comment,
            f"POST {repo}/statuses/{{sha}}": self._create_status,
            f"GET {repo}/commits/{{ref}}/status": self._combined_status,
            f"GET {repo}/deployments": self._list_deployments,
            f"POST {repo}/deployments": self._create_deployment,
            f"GET {repo}/deployments/{{deployment_id}}/statuses": self._list_deployment_statuses,
            f"POST {repo}/deployments/{{deployment_id}}/statuses": self._create_deployment_status,
            f"GET {repo}/hooks": lambda *_: (200, list(self.hooks.values())),
            f"POST {repo}/hooks": self._create_hook,
            f"PATCH {repo}/hooks/{{hook_id}}": self._change_hook,
            f"GET {repo}/hooks/{{hook_id}}/deliveries": self._list_deliveries,
        }

    def _id(self) -> int:
        self._ids += 1
        return self._ids

    def _page(self, items: list[Any], query: dict[str, str], path: str) -> tuple[list[Any], dict[str, str]]:
        size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
        shown = items[(page - 1) * size : page * size]
        if len(items) <= page * size:
            return shown, {}
        following = "&".join(f"{name}={value}" for name, value in {**query, "page": str(page + 1)}.items())
        return shown, {"Link": f'<{self.url}{path}?{following}>; rel="next"'}

    url = ""  # set while it is served

    def _show_repository(self, operation: Operation, *_: Any) -> tuple[int, Any]:
        data = operation.example(200)
        del data["source"]  # GitHub's example lacks fields there, and one of its own
        return 200, data | {"full_name": self.repository, "language": "Python", "permissions": self.permissions}

    # -- pull requests

    def _shown(self, operation: Operation, status: int, number: int | None = None) -> dict[str, Any]:
        number = number or int(operation.names["pull_number"])
        pull = self.pull(number)
        example = operation.example(status)
        data: dict[str, Any] = example[0] if isinstance(example, list) else example
        data |= {
            "number": number,
            "title": pull["title"],
            "body": pull["body"],
            "state": pull["state"],
            "merged_at": NOW if pull["merged"] else None,
            "html_url": f"https://github.com/{self.repository}/pull/{number}",
            "requested_teams": [],  # GitHub's example lacks a field there
        }
        if "merged" in data:
            data["merged"] = pull["merged"]
        for side in ("head", "base"):
            data[side] |= {"ref": pull[side], "sha": self.head_of(pull[side])}
            data[side]["repo"]["full_name"] = self.repository
        if pull["fork"]:
            data["head"]["repo"]["full_name"] = pull["fork"]
        return data

    def _list_pulls(self, operation: Operation, query: dict[str, str], _: Any) -> tuple[int, Any]:
        owner = self.repository.split("/")[0]
        chosen = [
            number
            for number, pull in self.pulls.items()
            if query.get("state", "open") in {pull["state"], "all"}
            and query.get("base", pull["base"]) == pull["base"]
            and query.get("head", f"{owner}:{pull['head']}") == f"{owner}:{pull['head']}"
        ]
        return 200, [self._shown(operation, 200, number) for number in chosen]

    def _create_pull(self, operation: Operation, _: Any, data: Any) -> tuple[int, Any]:
        if any((p["head"], p["state"], p["fork"]) == (data["head"], "open", None) for p in self.pulls.values()):
            message = f"A pull request already exists for {self.repository.split('/')[0]}:{data['head']}."
            raise Refusal(
                422, "Validation Failed", ({"resource": "PullRequest", "code": "custom", "message": message},)
            )
        number = self.open_pull(data["head"], data["base"], data["title"], data.get("body"))
        return 201, self._shown(operation, 201, number)

    def _change_pull(self, operation: Operation, _: Any, data: Any) -> tuple[int, Any]:
        self.pull(int(operation.names["pull_number"])).update(data)
        return 200, self._shown(operation, 200)

    def _list_files(self, operation: Operation, *_: Any) -> tuple[int, Any]:
        number = int(operation.names["pull_number"])
        pull = self.pull(number)
        files = self.files.get(number, [])
        if self.origin is not None and number not in self.files:
            ends = f"{self.head_of(pull['base'])}...{self.head_of(pull['head'])}"
            files = [{"filename": name} for name in git(self.origin.path, "diff", "--name-only", ends).splitlines()]
        return 200, [operation.example(200)[0] | file for file in files]

    def _merge(self, operation: Operation, _: Any, data: Any) -> tuple[int, Any]:
        pull = self.pull(int(operation.names["pull_number"]))
        if pull["state"] != "open":
            raise Refusal(405, "Pull Request is not mergeable")
        head = self.head_of(pull["head"])
        if data.get("merge_method", "merge") in self.refused_methods:
            raise Refusal(405, self.refused_methods[data["merge_method"]])
        if data.get("sha", head) != head:
            raise Refusal(409, "Head branch was modified. Review and try the merge again.")
        merged = self._merge_in_git(pull, head, data.get("commit_title", "Merge")) if self.origin else head
        pull |= {"state": "closed", "merged": True}
        return 200, {"sha": merged, "merged": True, "message": "Pull Request successfully merged"}

    def _merge_in_git(self, pull: dict[str, Any], head: str, title: str) -> str:
        assert self.origin is not None
        path, base = self.origin.path, self.head_of(pull["base"])
        tree = git(path, "merge-tree", "--write-tree", base, head)
        commit = git(path, "commit-tree", tree, "-p", base, "-p", head, "-m", title)
        git(path, "update-ref", f"refs/heads/{pull['base']}", commit, base)
        return commit

    # -- comments

    def _show_user(self, operation: Operation, *_: Any) -> tuple[int, Any]:
        if self.user is None:
            raise Refusal(403, "Resource not accessible by integration")
        return 200, operation.example(200) | self.user

    def _list_comments(self, operation: Operation, *_: Any) -> tuple[int, Any]:
        number = int(operation.names["issue_number"])
        self.pull(number)
        base = operation.example(200)[0]
        return 200, [_written(base, comment) for comment in self.comments.values() if comment["on"] == number]

    def _create_comment(self, operation: Operation, _: Any, data: Any) -> tuple[int, Any]:
        number = int(operation.names["issue_number"])
        self.pull(number)
        author = self.user or {"id": 8, "type": "Bot"}
        return 201, _written(operation.example(201), self.add_comment(number, data["body"], author))

    def add_comment(self, number: int, body: str, author: Mapping[str, Any]) -> dict[str, Any]:
        """Comment on a pull request, as a member with that ``id`` and ``type``."""
        key = self._id()
        shown = {
            "id": key,
            "body": body,
            "author_association": "MEMBER",
            "html_url": f"https://github.com/{self.repository}/pull/{number}#issuecomment-{key}",
        }
        self.comments[key] = {"on": number, "by": author, "shown": shown}
        return self.comments[key]

    def _change_comment(self, operation: Operation, _: Any, data: Any) -> tuple[int, Any]:
        comment = self.comments[int(operation.names["comment_id"])]
        comment["shown"]["body"] = data["body"]
        return 200, _written(operation.example(200), comment)

    # -- statuses and deployments

    def _create_status(self, operation: Operation, _: Any, data: Any) -> tuple[int, Any]:
        status = {"target_url": None, "description": None, **data}
        self.statuses.append({"sha": operation.names["sha"], **status})
        return 201, operation.example(201) | status

    def _combined_status(self, operation: Operation, *_: Any) -> tuple[int, Any]:
        latest = {s["context"]: s for s in self.statuses if s["sha"] == operation.names["ref"]}
        data = operation.example(200)
        base = data["statuses"][0]
        shown = [base | {k: v for k, v in status.items() if k != "sha"} for status in latest.values()]
        return 200, data | {"statuses": shown, "sha": operation.names["ref"], "total_count": len(shown)}

    def _list_deployments(self, operation: Operation, query: dict[str, str], _: Any) -> tuple[int, Any]:
        asked = {key: query[key] for key in ("sha", "environment", "task") if key in query}
        base = operation.example(200)[0]
        newest_first = reversed(self.deployments.values())
        return 200, [base | d for d in newest_first if asked.items() <= d.items()]

    def _create_deployment(self, operation: Operation, _: Any, data: Any) -> tuple[int, Any]:
        key = self._id()
        kept = {name: data[name] for name in ("task", "environment", "description", "production_environment")}
        self.deployments[key] = {"id": key, "sha": data["ref"], "ref": data["ref"], **kept}
        self.deployment_statuses[key] = []
        return 201, operation.example(201) | self.deployments[key]

    def _deployment_statuses(self, operation: Operation) -> list[dict[str, Any]]:
        key = int(operation.names["deployment_id"])
        if key not in self.deployment_statuses:
            raise Refusal(404, "Not Found")
        return self.deployment_statuses[key]

    def _list_deployment_statuses(self, operation: Operation, *_: Any) -> tuple[int, Any]:
        base = operation.example(200)[0]
        return 200, [base | status for status in reversed(self._deployment_statuses(operation))]

    def _create_deployment_status(self, operation: Operation, _: Any, data: Any) -> tuple[int, Any]:
        shown = {key: value for key, value in data.items() if key != "auto_inactive"}
        self._deployment_statuses(operation).append({"environment_url": "", **shown})
        return 201, operation.example(201) | shown

    # -- hooks

    def _create_hook(self, operation: Operation, _: Any, data: Any) -> tuple[int, Any]:
        if any(hook["config"]["url"] == data["config"]["url"] for hook in self.hooks.values()):
            message = "Hook already exists on this repository"
            raise Refusal(422, "Validation Failed", ({"resource": "Hook", "code": "custom", "message": message},))
        key = self._id()
        self.hooks[key] = operation.example(201) | {"id": key, **_without_secret(data)}
        return 201, self.hooks[key]

    def _hook(self, operation: Operation) -> dict[str, Any]:
        key = int(operation.names["hook_id"])
        if key not in self.hooks:
            raise Refusal(404, "Not Found")
        return self.hooks[key]

    def _change_hook(self, operation: Operation, _: Any, data: Any) -> tuple[int, Any]:
        hook = self._hook(operation)
        hook |= _without_secret(data)
        return 200, hook

    def _list_deliveries(self, operation: Operation, *_: Any) -> tuple[int, Any]:
        base = operation.example(200)[0]
        key = self._hook(operation)["id"]
        return 200, [base | delivery for delivery in self.deliveries.get(key, [])]


def _written(example: dict[str, Any], comment: Mapping[str, Any]) -> dict[str, Any]:
    """GitHub's example of a comment, with this one's text and author."""
    return example | comment["shown"] | {"user": example["user"] | comment["by"]}


def _nothing(*_: Any) -> tuple[int, Any]:
    raise Refusal(404, "Not Found")


def _without_secret(hook: dict[str, Any]) -> dict[str, Any]:
    """GitHub shows asterisks for the secret that it was given."""
    return {**hook, "config": {**hook["config"], "secret": "********"}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    github: FakeGitHub
    turn: threading.Lock

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.turn:
            fault = self.github.faults.pop(0) if self.github.faults else None
            if fault is not None and not fault.lost:
                self._answer(fault.status, fault.body, {"Content-Type": fault.content_type, **fault.headers})
                return
            if self.headers.get("Authorization", "").partition(" ")[2] != TOKEN:
                self._answer(401, b'{"message": "Bad credentials"}', {"Content-Type": "application/json"})
                return
            try:
                status, data, headers = self.github.serve(self.command, self.path, body)
            except AssertionError as error:
                self.github.problems.append(str(error))
                status, data, headers = 500, {"message": "the test says more"}, {}
        if fault is not None:
            self.close_connection = True
            return
        content = b"" if data is None else json.dumps(data).encode()
        self._answer(status, content, {"Content-Type": "application/json; charset=utf-8", **headers})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle  # noqa: N815 - the base class's names

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(github: FakeGitHub) -> Iterator[str]:
    """Serve it on loopback; gives the API's URL. Fails at the end where a request or an answer was not GitHub's."""
    handler = type("Handler", (_Handler,), {"github": github, "turn": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    github.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield github.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not github.problems, "\n".join(github.problems)
