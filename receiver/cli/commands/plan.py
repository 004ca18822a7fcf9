"""``pinrail plan``: what the receiver would do for the pins at the branch head, and why not more."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from receiver.cli.observing import observe_soon
from receiver.cli.output import answer
from receiver.cli.progress import progress
from receiver.cli.tables import change, table
from receiver.core.deployment import WayBack
from receiver.core.errors import PinrailError
from receiver.core.redact import Redactor
from receiver.core.way_back import way_back
from receiver.planning.assess import Assessment
from receiver.planning.observe import Observation
from receiver.planning.slot_trouble import SlotTroubles
from receiver.planning.status import IDLE, Activity, activities_now, reason_of, state_of
from receiver.services import Services
from receiver.settings import load_settings
from receiver.wiring import build, open_database


@dataclass(frozen=True, slots=True)
class SlotPlanView:
    """What would be done about one slot."""

    environment: str
    model: str
    old: int | None
    """The last verified version."""
    new: int | None
    """The pinned version."""
    verdict: str
    """As ``state`` of ``pinrail status``."""
    reason: str
    """Why it is refused or waits, or what is special about it."""
    actions: Sequence[str]
    """In order; empty: nothing would be done."""
    metrics_old: Mapping[str, float | None]
    metrics_new: Mapping[str, float | None]
    way_back: WayBack | None
    """The version that the slot would go back to from the pinned one; null: there is none, or nothing
    would be done."""


@dataclass(frozen=True, slots=True)
class PlanView:
    """The plan of every slot: ``pinrail plan --json``."""

    commit: str
    """The commit whose pins are planned."""
    stale: str | None
    """Why this is the last fetched commit and not the branch head."""
    plan: Sequence[SlotPlanView]


def show_plan(*, as_json: bool) -> None:
    """Print old and new version per slot, the metrics of both, the actions, and the reason for a refusal."""
    settings = load_settings("pinrail_repo_url")
    with progress("reading pins, registry and servers ..."):
        view = plan_view(build(settings, open_database(settings)))
    answer(Redactor(settings.secrets).within(view), _text, json_wanted=as_json)


def plan_view(services: Services) -> PlanView:
    """Observe the branch head, the registry and the servers, and plan every slot."""
    observed = observe_soon(services)
    services, seen = observed.services, observed.seen
    activities = activities_now(services)
    troubles = SlotTroubles()
    slots = []
    for slot in seen.slots():
        assessment, activity = troubles.assess(services, seen, slot), activities.get(slot, IDLE)
        with troubles.alone(slot):
            slots.append(_slot_plan(services, seen, assessment, activity))
            continue
        slots.append(_unplanned(assessment, troubles.of(slot)))
    return PlanView(seen.snapshot.commit, observed.stale or None, slots)


def _unplanned(assessment: Assessment, trouble: str) -> SlotPlanView:
    old = assessment.verified.version if assessment.verified else None
    slot = assessment.slot
    return SlotPlanView(slot.environment, slot.model, old, assessment.pinned, "unknown", trouble, (), {}, {}, None)


def _slot_plan(services: Services, seen: Observation, assessment: Assessment, activity: Activity) -> SlotPlanView:
    old = assessment.verified.version if assessment.verified else None
    asked = {old, assessment.pinned} if seen.registry_down is None else ()
    metrics = {version: _measured(services, assessment.slot.model, version) for version in asked}
    return SlotPlanView(
        environment=assessment.slot.environment,
        model=assessment.slot.model,
        old=old,
        new=assessment.pinned,
        verdict=state_of(seen, assessment),
        reason=reason_of(seen, assessment, Activity(hindrance=activity.hindrance)),
        actions=[str(action) for action in assessment.actions],
        metrics_old=metrics.get(old, {}),
        metrics_new=metrics.get(assessment.pinned, {}),
        way_back=way_back(services.journal, assessment.slot, assessment.pinned) if assessment.actions else None,
    )


def _measured(services: Services, model: str, version: int | None) -> Mapping[str, float | None]:
    """A version's metrics; if the registry does not answer, the plan is shown without them."""
    if version is None:
        return {}
    try:
        return services.registry.metrics(model, version)
    except PinrailError:
        return {}


def _text(view: PlanView) -> str:
    stale = f" (stale: {view.stale})" if view.stale else ""
    slots = table(
        ("environment", "model", "old -> new", "verdict", "metrics old -> new"),
        [
            (slot.environment, slot.model, change(slot.old, slot.new), slot.verdict, _metrics(slot))
            for slot in view.plan
        ],
    )
    details = "\n".join(line for slot in view.plan for line in _details(slot))
    return f"pins at {view.commit[:12]}{stale}\n{slots}" + (f"{details}\n" if details else "")


def _details(slot: SlotPlanView) -> Iterator[str]:
    if slot.reason or slot.actions:
        yield f"\n{slot.environment}/{slot.model}: {slot.verdict}"
    yield from (f"  {line}" for line in slot.reason.splitlines())
    yield from (f"  {place}. {action}" for place, action in enumerate(slot.actions, 1))
    if slot.actions and slot.way_back is not None:
        yield f"  way back: {slot.way_back}"


def _metrics(slot: SlotPlanView) -> str:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    old, new = slot.metrics_old, slot.metrics_new
    return "\n".join(f"{name} {number(old.get(name))} -> {number(new.get(name))}" for name in sorted({*old, *new}))
