"""The flow with real git and a GitHub beside it: what promotes, merges and goes back does so through a remote."""

from dataclasses import replace
from pathlib import Path

from receiver.adapters.git.command import parse_remote
from receiver.adapters.git.mirror import GitSource
from receiver.adapters.github.client import GitHubClient
from receiver.adapters.github.pulls import Pulls
from receiver.adapters.sqlite.queue import Queue
from receiver.core.state import Slot
from receiver.pull_requests.open_pull_request import Upstream
from tests.support.flow import MODEL, Flow
from tests.support.git_repos import Origin
from tests.support.github_server import TOKEN, FakeGitHub
from tests.support.one_pass import Report, reconcile

STAGING, PRODUCTION = Slot("staging", MODEL), Slot("production", MODEL)
SIGNED = """\
signature:
  inputs: '[{{"name": "tenure", "type": "{kind}", "required": true}}]'
  outputs: '[{{"type": "tensor", "tensor-spec": {{"dtype": "int64", "shape": [-1]}}}}]'
flavors: {{}}
# v{version}
"""


class PromotionScenario:
    """Everything between a candidate and production. ``url``: where the GitHub answers."""

    def __init__(self, directory: Path, url: str, github: FakeGitHub, *, soak: str = "0s") -> None:
        assert github.origin is not None
        self.flow = Flow(directory, soak=soak)
        self.origin: Origin = github.origin
        self.github = github
        source = GitSource(self.origin.url, "main", directory / "mirror.git")
        self.services = replace(self.flow.services, source=source)
        self.client = GitHubClient(github.repository, TOKEN, url)
        self.upstream = Upstream(parse_remote(self.origin.url), "main", Pulls(self.client))
        self.queue = Queue(self.flow.database)

    def register(self, *kinds: str, passing: bool = True) -> None:
        """Register a version per type of its one column, with evidence for both environments."""
        for kind in kinds:
            version = len(self.flow.registry.models.get(MODEL, {})) + 1
            self.flow.registry.register(MODEL, {"MLmodel": SIGNED.format(kind=kind, version=version)})
            self.flow.record(version, passing=passing)
            found = self.flow.registry.models[MODEL][version]
            found.metrics = {"accuracy": 0.78 + version / 100}
            found.lineage = {"run": f"run-{version}", "data version": "telco-1"}

    def pin(self, staging: int, production: int) -> str:
        """Push a commit that pins these versions. Returns it."""
        return self.origin.commit(dict(self.flow.files(staging, production)), "Pin")

    def run(self, cause: str = "push") -> Report:
        """One reconciliation."""
        return reconcile(self.services, cause)
