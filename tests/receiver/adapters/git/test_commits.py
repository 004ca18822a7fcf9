"""A commit that changes one file, byte for byte, read back with git alone."""

import subprocess
from pathlib import Path

from receiver.adapters.git.command import Git, parse_remote
from receiver.adapters.git.commits import Author, FileChange, commit_file, fetch_branches, push_branch
from tests.support.git_repos import FILES, Origin, git

PATH = "environments/staging.yaml"
BEFORE = b"# pins\r\nversion: 1\r\n"
AFTER = b"# pins \xc3\xa9\r\nversion: 2\r\n\t# no newline at the end"


def raw(origin: Origin, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", origin.path, *arguments], check=True, capture_output=True).stdout


def entries(origin: Origin, commit: str) -> dict[str, tuple[str, str]]:
    """Every path with its mode and object."""
    lines = git(origin.path, "ls-tree", "-r", "--full-tree", commit).splitlines()
    return {line.partition("\t")[2]: (line.split()[0], line.split()[2]) for line in lines}


def test_a_commit_has_the_tree_modes_and_exact_bytes_of_its_parent_but_for_the_one_file(
    origin: Origin, tmp_path: Path
) -> None:
    """Neither attributes nor modes of the repository change a byte, and nothing is written beside the file."""
    origin.commit({**FILES, PATH: BEFORE, ".gitattributes": "* text=auto eol=lf\n*.yaml ident filter=x\n"})
    origin.commit_entry("run.sh", "100755", origin.blob(b"#!/bin/sh\n"))
    origin.commit_entry("link", "120000", origin.blob(b"environments"))
    parent = origin.commit_entry(PATH, "100755", origin.blob(BEFORE))
    repository = Git(tmp_path / "scratch" / "repository.git", parse_remote(origin.url))
    repository.directory.parent.mkdir()
    head, proposed = fetch_branches(repository, "main", "promote")
    assert (head, proposed) == (parent, None)

    who = Author("Ada Lovelace", "ada@example.invalid")
    commit = commit_file(repository, parent, FileChange(PATH, BEFORE, AFTER), "Promote churn-model v2", who)
    push_branch(repository, commit, "promote", None)

    assert origin.head("promote") == commit
    before, after = entries(origin, parent), entries(origin, commit)
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} == {PATH}
    assert (before[PATH][0], after[PATH][0]) == ("100755", "100755")
    assert raw(origin, "cat-file", "blob", f"{commit}:{PATH}") == AFTER
    header, _, message = raw(origin, "cat-file", "commit", commit).decode().partition("\n\n")
    tree, of, author, committer = header.splitlines()
    assert tree == f"tree {git(origin.path, 'rev-parse', f'{commit}^{{tree}}')}"
    assert of == f"parent {parent}"
    assert author.startswith("author Ada Lovelace <ada@example.invalid> ")
    assert committer.removeprefix("committer ") == author.removeprefix("author ")
    assert message == "Promote churn-model v2\n"
    expected = origin.commit_entry(PATH, "100755", origin.blob(AFTER))
    assert git(origin.path, "rev-parse", f"{expected}^{{tree}}") == tree.removeprefix("tree ")
