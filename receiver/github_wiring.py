"""Builds what speaks to GitHub: the repository's API, pull requests, statuses.

Apart from ``wiring.py``, because its imports take longer than ``pinrail status`` does.
"""

from dataclasses import replace

from receiver.adapters.git.command import parse_remote
from receiver.adapters.github.client import GitHubClient
from receiver.adapters.github.dispatcher import Dispatcher, Handler
from receiver.adapters.github.pulls import Pulls
from receiver.adapters.github.sender import GitHubSender
from receiver.adapters.github.statuses import Statuses
from receiver.adapters.sqlite.outbox import Sender
from receiver.core.messages import GITHUB, RealisedFigures, RevertNeeded
from receiver.core.redact import Redactor
from receiver.pull_requests.open_pull_request import Upstream
from receiver.pull_requests.realised_comment import RealisedCommenter
from receiver.pull_requests.revert import Reverter
from receiver.services import Services
from receiver.settings import Settings
from receiver.wiring import MIRROR, token_of


def build_github(settings: Settings) -> GitHubClient | None:
    """The repository's API; None without a token, or where the URL names no repository."""
    token = token_of(settings)
    if token is None or settings.repository is None:
        return None
    return GitHubClient(settings.repository, token, settings.github_api_url)


def build_upstream(settings: Settings) -> Upstream:
    """The repository and branch to which pin changes are proposed."""
    github = build_github(settings)
    remote = parse_remote(settings.pinrail_repo_url or "", token_of(settings))
    remote = replace(remote, mirror=settings.pinrail_state_dir / MIRROR, signing_key=settings.signing_key)
    return Upstream(remote, settings.pinrail_branch, Pulls(github) if github else None, public_redactor(settings))


def build_senders(settings: Settings, services: Services) -> dict[str, Sender]:
    """The sender of each channel. Without a token, messages to GitHub count as delivered."""
    github = build_github(settings)
    if github is None:
        return {GITHUB: lambda _: None}
    reverter = Reverter(services.registry, build_upstream(settings))
    handlers: dict[str, Handler] = {
        **GitHubSender(Statuses(github)).handlers(),
        str(RevertNeeded.kind): reverter,
        str(RealisedFigures.kind): RealisedCommenter(Pulls(github), settings.pinrail_branch),
    }
    return {GITHUB: Dispatcher(handlers, public_redactor(settings))}


def public_redactor(settings: Settings) -> Redactor:
    """For texts on GitHub, which strangers may read: neither secrets nor where the registry is."""
    return Redactor([*settings.secrets, *settings.registry_addresses])
