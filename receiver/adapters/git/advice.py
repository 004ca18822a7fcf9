"""What to do about git's most common failures at a remote. Pure."""

import re

MOVED = re.compile(r"returned error: 30[1278]|redirect", re.IGNORECASE)
# Without a terminal, git says of a 401 that it cannot read a name or password.
REFUSED = re.compile(r"could not read (User|Pass)|Authentication failed|returned error: 40[13]", re.IGNORECASE)
UNSEEN = re.compile(r"repository\b.*\bnot found", re.IGNORECASE)
NO_KEY = re.compile(r"Permission denied \(|Permission denied, please try again", re.IGNORECASE)
UNKNOWN_HOST = re.compile(r"Host key verification failed", re.IGNORECASE)
SHALLOW = re.compile(r"shallow roots are not allowed", re.IGNORECASE)


def explained(said: str, url: str, *, credentials: bool) -> str:
    """What git said (one line, without secrets), with what to do where that is known.

    ``credentials``: whether git had any for this remote.
    """
    if moved := MOVED.search(said):
        return (
            f"{url} answers with a redirect ({moved[0]}): the repository was renamed or moved; "
            "set PINRAIL_REPO_URL to its new address"
        )
    if REFUSED.search(said):
        cause = (
            "GITHUB_TOKEN, or the password in PINRAIL_REPO_URL, is wrong, expired, or may not read the contents of "
            "this repository: set a valid one"
            if credentials
            else "it wants credentials: set GITHUB_TOKEN to a token that may read its contents"
        )
        return f"{url} refuses us; {cause} ({said})"
    if UNSEEN.search(said):
        return f"{said}. Correct PINRAIL_REPO_URL; if it is private, set GITHUB_TOKEN to a token that may read it"
    if NO_KEY.search(said):
        return f"{said}. Add an ssh key without a passphrase, or to ssh-agent, that may read {url}"
    if UNKNOWN_HOST.search(said):
        return f"{said}. Add the host's key to known_hosts: connect once by hand with ssh, and compare the key"
    return said


def shallow(url: str) -> str:
    """Why nothing can be fetched from a shallow clone."""
    return (
        f"PINRAIL_REPO_URL: {url} is a shallow clone, which lacks the history that is to be fetched: run "
        "`git fetch --unshallow` in it, or set PINRAIL_REPO_URL to the repository that it was cloned from"
    )
