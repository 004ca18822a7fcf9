"""Real git repositories in temporary directories, made with GitPython so that nothing of ours is its own judge."""

import shutil
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from git import Actor, Repo
from git.index.typ import BaseIndexEntry
from gitdb import IStream

AUTHOR = Actor("Test", "test@example.invalid")

STAGING = """\
# what staging serves
environment: staging
registry: {stage: Staging, alias: staging}
gate: {accuracy: {min: 0.7}}
models:
  churn-model:
    version: 1 # pinned
    port: 8000
"""
PRODUCTION = """\
# what production serves
environment: production
registry: {stage: Production, alias: production}
policy: {after: staging, soak: 30m}
gate: {accuracy: {min: 0.8}, latency_p95_ms: {max: 50}}
models:
  churn-model:
    version: 1 # pinned
    port: 8001
"""
FILES = {"environments/staging.yaml": STAGING, "environments/production.yaml": PRODUCTION}


def pinned(text: str, version: int) -> str:
    """The file with another version of its one model."""
    return text.replace("version: 1 ", f"version: {version} ")


class Origin:
    """A bare repository that stands in for the remote, and a work tree that pushes to it."""

    def __init__(self, directory: Path, branch: str = "main") -> None:
        self.path = directory / "origin.git"
        self.branch = branch
        self.bare = Repo.init(self.path, bare=True, initial_branch=branch)
        self.work = Repo.init(directory / "work", initial_branch=branch)
        self.work.create_remote("origin", str(self.path))

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    def commit(self, files: Mapping[str, str | bytes | None], message: str = "Change") -> str:
        """Write (None: delete) the files, commit and push. Returns the commit."""
        for name, content in files.items():
            path = Path(self.work.working_dir) / name
            if content is None:
                self.work.index.remove([name], working_tree=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            self.work.index.add([name])
        return self.finish(message)

    def blob(self, content: bytes) -> str:
        """Store a blob that is in no tree yet. Returns its name."""
        stored = self.work.odb.store(IStream(b"blob", len(content), BytesIO(content)))
        return bytes(stored.binsha).hex()

    def commit_entry(self, path: str, mode: int, object_name: str) -> str:
        """Commit an entry of any mode, as an attacker's tool would."""
        self.work.index.add([BaseIndexEntry((mode, bytes.fromhex(object_name), 0, path))])
        return self.finish("Something odd")

    def finish(self, message: str) -> str:
        commit = self.work.index.commit(message, author=AUTHOR, committer=AUTHOR)
        self.push()
        return commit.hexsha

    def push(self) -> None:
        self.work.remote().push(f"+HEAD:refs/heads/{self.branch}").raise_if_error()

    def reset(self, commit: str) -> None:
        """Rewrite history: the branch goes back to a commit."""
        self.work.head.reset(commit, index=True, working_tree=True)
        self.push()

    def text(self, ref: str, path: str) -> str:
        data: bytes = (self.bare.commit(ref).tree / path).data_stream.read()
        return data.decode()

    def vanish(self) -> None:
        self.path.rename(self.path.with_suffix(".away"))

    def return_(self) -> None:
        self.path.with_suffix(".away").rename(self.path)

    def destroy(self) -> None:
        shutil.rmtree(self.path)
