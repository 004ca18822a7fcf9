"""Plans a pull request: assesses the branch as it would be after the merge, with the code that deployments use.

No decision is made here: a plan says what a merge would do now.
"""

import re
import time
from collections.abc import Sequence
from pathlib import Path

from ml.environment.file import Environment
from ml.evidence import Evidence
from receiver.core.deployment import longest_live
from receiver.core.errors import PinrailError, Rejected
from receiver.core.pins import Desired
from receiver.core.policy import Hold, HoldState, outdated, since_taken_out
from receiver.core.state import Slot
from receiver.core.way_back import way_back
from receiver.planning.assess import Assessment
from receiver.planning.fetch import fetch_and_assess, fetched
from receiver.planning.observe import Observation, observe_at
from receiver.ports import Registry, Snapshot
from receiver.pull_requests.comparison import compare
from receiver.pull_requests.plan_comment import DetailedComparison, PlannedChange, PullRequestPlan, Soak
from receiver.pull_requests.remarks import remarks
from receiver.services import Services
from serving.errors import ServingError
from serving.model.small_files import REQUIREMENTS, read_small

# Anybody may open a pull request, and each new version in one is downloaded.
MOST_VERSIONS = 50
TOO_MANY = Hold(
    HoldState.REFUSED,
    f"not planned: a plan downloads at most {MOST_VERSIONS} versions, and this one asks for more: split it up",
)
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def plan_pull_request(services: Services, base: Desired | None, proposed: Snapshot) -> PullRequestPlan:
    """Plan what ``proposed`` changes; ``base`` is what is pinned now, None if that is not valid.

    Retryable: servers or registry could not be asked.
    """
    try:
        seen = observe_at(services, proposed)
    except Rejected as error:
        return PullRequestPlan(proposed.commit, problem=str(error))
    before = base or Desired(())
    pinned = {Slot(e.name, model) for e in before.environments for model in e.models}
    slots = [*seen.slots(), *sorted(pinned - set(seen.slots()))]
    changed = [slot for slot in slots if _terms(before, slot) != _terms(seen.desired, slot)]
    asked: set[tuple[str, int]] = set()
    changes = []
    for slot in changed:
        _, pin = seen.pin(slot)
        old = _pinned(before, slot)
        if pin is not None and pin.version != old:
            asked.add((pin.model, pin.version))
        if len(asked) <= MOST_VERSIONS or pin is None or pin.version == old:
            changes.append(_change(services, before, seen, slot))
        else:
            changes.append(PlannedChange(slot, pin.port, old, pin.version, (), hold=TOO_MANY))
    return PullRequestPlan(proposed.commit, tuple(changes))


def _pinned(desired: Desired, slot: Slot) -> int | None:
    environment = _environment(desired, slot)
    return environment.models[slot.model].version if environment and slot.model in environment.models else None


def _terms(desired: Desired, slot: Slot) -> object:
    """Everything in the environment files that concerns one slot."""
    environment = _environment(desired, slot)
    if environment is None or slot.model not in environment.models:
        return None
    gate = environment.gate_for(slot.model)
    policy = (environment.after, environment.soak_seconds, environment.stage, environment.alias)
    return environment.models[slot.model], gate, policy, environment.log_for(slot.model), environment.live


def _environment(desired: Desired, slot: Slot) -> Environment | None:
    return next((e for e in desired.environments if e.name == slot.environment), None)


def _change(services: Services, before: Desired, seen: Observation, slot: Slot) -> PlannedChange:
    assessment = fetch_and_assess(services, seen, slot)
    environment, pin = seen.pin(slot)
    verified = assessment.verified.version if assessment.verified else None  # if the pins now are not valid
    pinned = _pinned(before, slot)
    old = pinned if pinned is not None else verified
    new = pin.version if pin else None
    comparison = _comparison(services.registry, slot, old, new) if new is not None and old != new else None
    return PlannedChange(
        slot=slot,
        port=pin.port if pin else None,
        old=old,
        new=new,
        actions=tuple(str(action) for action in assessment.actions),
        comparison=comparison,
        hold=assessment.hold,
        retry=assessment.retry,
        override=assessment.override,
        soak=_soak(services, environment, assessment),
        lifts=seen.lifted(slot),
        way_back=way_back(services.journal, slot, new) if old != new else None,
        outdated=_outdated(comparison, environment, slot, verified),
        remarks=_remarks(services.registry, environment, slot, new),
    )


def _outdated(
    comparison: DetailedComparison | None, environment: Environment | None, slot: Slot, live: int | None
) -> str | None:
    evidence = comparison.evidence[1] if comparison is not None else None
    if evidence is None or environment is None:
        return None
    return outdated(evidence, environment.gate_for(slot.model), live)


def _remarks(registry: Registry, environment: Environment | None, slot: Slot, new: int | None) -> Sequence[str]:
    if environment is None or new is None:
        return ()
    try:
        return list(remarks(environment, slot.model, fetched(registry, slot.model, new).path))
    except (PinrailError, ServingError):  # that it cannot be served is reported elsewhere
        return ()


def _comparison(registry: Registry, slot: Slot, old: int | None, new: int) -> DetailedComparison:
    versions = compare(registry, slot, old, new)
    return DetailedComparison(
        versions,
        (_evidence(registry, slot, old), versions.evidence),
        (_packages(registry, slot, old), _packages(registry, slot, new)),
    )


def _evidence(registry: Registry, slot: Slot, version: int | None) -> Evidence | None:
    """For reviewers only; decisions use the evidence of the assessment."""
    try:
        return registry.evidence(slot.model, version, slot.environment) if version is not None else None
    except PinrailError:
        return None


def _packages(registry: Registry, slot: Slot, version: int | None) -> dict[str, str]:
    if version is None:
        return {}
    try:
        return read_packages(fetched(registry, slot.model, version).path)
    except PinrailError:
        return {}


def read_packages(artifacts: Path) -> dict[str, str]:
    """The packages that a version requires, by name; empty if it lists none."""
    try:
        lines = read_small(artifacts / "requirements.txt", REQUIREMENTS).decode(errors="replace").splitlines()
    except (OSError, ServingError):
        return {}
    named = ((_PACKAGE.match(line.strip()), line.strip()) for line in lines)
    return {re.sub(r"[-_.]+", "-", found[0]).lower(): line for found, line in named if found}


def _soak(services: Services, environment: Environment | None, assessment: Assessment) -> Soak | None:
    """Only for a new version that needs it."""
    version, verified = assessment.pinned, assessment.verified
    if environment is None or environment.after is None or version is None or assessment.override:
        return None
    if verified is not None and verified.version == version:
        return None
    try:
        digest = fetched(services.registry, assessment.slot.model, version).digest
    except PinrailError:  # the assessment says why
        return None
    before = Slot(environment.after, assessment.slot.model)
    there = since_taken_out(services.journal.history(before), services.journal.taken_out(before, version))
    longest, since = longest_live(there, version, digest, time.time())
    done = (since is not None or longest > 0) and longest >= environment.soak_seconds
    return Soak(environment.after, environment.soak_seconds, since, done)
