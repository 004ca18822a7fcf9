"""What ``ml.evaluate`` says beside the verdicts: the other environments, the report, and what to do next. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ml.evidence import CheckOutcome, Verdict


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One version, judged by the gates of several environments."""

    model: str
    version: int
    verdicts: Mapping[str, Sequence[Verdict]]  # by environment
    pinned: Mapping[str, int]  # the version that each environment pins, of those that pin the model

    def passed(self, environment: str) -> bool:
        """Whether all checks of an environment's gate passed."""
        return all(verdict.outcome is CheckOutcome.PASS for verdict in self.verdicts[environment])


def summary(evaluation: Evaluation, environment: str, registry: str) -> Iterator[str]:
    """The lines, for the environment whose verdicts were printed.

    ``registry``: MLflow's address without credentials; its pages are linked where it is one that browsers open.
    """
    for name, verdicts in evaluation.verdicts.items():
        if name != environment:
            failed = [str(verdict) for verdict in verdicts if verdict.outcome is not CheckOutcome.PASS]
            yield f"{name}: {'; '.join(failed)}" if failed else f"{name}: PASS, {len(verdicts)} checks"
    if registry.startswith(("http://", "https://")):
        yield f"report: {registry.rstrip('/')}/#/models/{evaluation.model}/versions/{evaluation.version}"
    yield f"next: {_next(evaluation, environment)}"


def _next(evaluation: Evaluation, environment: str) -> str:
    model, version = evaluation.model, evaluation.version
    if not evaluation.passed(environment):
        return f"{model} v{version} stays registered and goes nowhere; the verdicts say what to improve"
    pinned = evaluation.pinned.get(environment)
    if pinned is None:
        return f"`pinrail adopt {environment} {model} --version {version}` pins it there"
    if pinned == version:
        return f"{environment} pins {model} v{version} already, so the receiver deploys it"
    return f"`pinrail promote {environment} {model} --version {version}`"
