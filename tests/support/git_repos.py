"""Real git repositories in temporary directories, made with the git command alone: nothing of ours judges itself."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

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


def git(directory: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Run git on a repository (bare or not) and return what it printed, without the last newline."""
    done = subprocess.run(
        ["git", "-C", directory, *arguments], input=stdin, check=False, capture_output=True, timeout=30
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().removesuffix("\n")


class Origin:
    """A bare repository that stands in for the remote, and a work tree that pushes to it."""

    def __init__(self, directory: Path, branch: str = "main") -> None:
        self.path = directory / "origin.git"
        self.work = directory / "work"
        self.branch = branch
        for path, options in ((self.path, ["--bare"]), (self.work, [])):
            path.mkdir(parents=True)
            git(path, "init", "--quiet", "--template=", "--initial-branch=main", *options)

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    def commit(self, files: Mapping[str, str | bytes | None], message: str = "Change") -> str:
        """Write (None: delete) the files, commit and push. Returns the commit."""
        for name, content in files.items():
            path = self.work / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        git(self.work, "add", "--all")
        return self.finish(message)

    def commit_entry(self, path: str, mode: str, object_name: str) -> str:
        """Commit an entry of any mode, as an attacker's tool would."""
        git(self.work, "update-index", "--add", "--cacheinfo", f"{mode},{object_name},{path}")
        return self.finish("Something odd")

    def blob(self, content: bytes) -> str:
        """Store a blob that is in no tree yet. Returns its name."""
        return git(self.work, "hash-object", "-w", "--stdin", stdin=content)

    def finish(self, message: str) -> str:
        """Commit the index and push. Returns the commit."""
        git(self.work, "commit", "--quiet", "--message", message)
        self.push()
        return self.head("HEAD", self.work)

    def push(self) -> None:
        git(self.work, "push", "--quiet", "--force", str(self.path), f"HEAD:refs/heads/{self.branch}")

    def reset(self, commit: str) -> None:
        """Rewrite history: the branch goes back to a commit."""
        git(self.work, "reset", "--quiet", "--hard", commit)
        self.push()

    def delete_branch(self) -> None:
        git(self.path, "update-ref", "-d", f"refs/heads/{self.branch}")

    def head(self, ref: str = "main", where: Path | None = None) -> str:
        """The commit that a ref names, at the remote unless another place is given."""
        return git(where or self.path, "rev-parse", "--verify", f"{ref}^{{commit}}")

    def text(self, ref: str, path: str) -> str:
        """A file at the remote, without its last newline."""
        return git(self.path, "show", f"{ref}:{path}")

    def branches(self, where: Path | None = None) -> list[str]:
        return git(where or self.path, "for-each-ref", "--format=%(refname:short)", "refs/heads").splitlines()

    def vanish(self) -> None:
        """The remote is not there until :meth:`come_back`."""
        self.path.rename(self.path.with_suffix(".away"))

    def come_back(self) -> None:
        self.path.with_suffix(".away").rename(self.path)
