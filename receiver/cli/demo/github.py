"""The demo's stand-in for GitHub: a bare repository, and a signed push webhook."""

import hashlib
import hmac
import json
import tempfile
import uuid
from pathlib import Path

import httpx
from git import Actor, Repo

REPOSITORY = "demo/models"  # what the payload calls it; the receiver derives the same from the URL
AUTHOR = Actor("Pinrail demo", "demo@localhost")


class LocalGitHub:
    """One repository at ``<root>/demo/models.git`` and its push webhook."""

    def __init__(self, root: Path, hook_url: str, secret: str) -> None:
        self.path = root / f"{REPOSITORY}.git"
        self._hook_url = hook_url
        self._secret = secret.encode()

    @property
    def url(self) -> str:
        """What the receiver fetches."""
        return f"file://{self.path}"

    def create(self, files: dict[str, bytes]) -> str:
        """Start the repository with one commit of these files on main; returns the commit."""
        with tempfile.TemporaryDirectory() as scratch:
            work = Repo.init(scratch, initial_branch="main")
            for name, content in files.items():
                path = Path(scratch, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            work.index.add(list(files))
            commit = work.index.commit("Pin the first version", author=AUTHOR, committer=AUTHOR)
            work.clone(self.path, bare=True).close()
            work.close()
        return str(commit.hexsha)

    def merge(self, branch: str) -> str:
        """Merge a pushed branch into main, as GitHub does, and deliver the push. Returns the commit."""
        repo = Repo(self.path)
        before, after = repo.commit("main").hexsha, repo.commit(branch).hexsha
        repo.git.update_ref("refs/heads/main", after, before)
        self.deliver(before, after)
        return str(after)

    def deliver(self, before: str, after: str) -> None:
        """Send the push event as GitHub does. httpx.HTTPError: it was not accepted."""
        body = json.dumps(
            {
                "ref": "refs/heads/main",
                "before": before,
                "after": after,
                "deleted": False,
                "repository": {"full_name": REPOSITORY},
            }
        ).encode()
        signature = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        httpx.post(
            self._hook_url,
            content=body,
            headers={
                "Content-Type": "application/json",
                "X-GitHub-Event": "push",
                "X-GitHub-Delivery": str(uuid.uuid4()),
                "X-Hub-Signature-256": f"sha256={signature}",
            },
        ).raise_for_status()
