"""What each slot waits for before its deployment begins, and which slots have to begin together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from receiver.core.plan import ActionKind, Purpose
from receiver.core.port_moves import exchanges
from receiver.core.state import Role, Slot
from receiver.planning.assess import Assessment
from receiver.planning.observe import Observation
from receiver.reconciler.fetcher import Head
from receiver.reconciler.reconcile import owner_of_port

Assessments = Mapping[Slot, Assessment]


@dataclass(frozen=True, slots=True)
class Turn:
    """What the controller knows in one turn."""

    head: Head
    seen: Observation
    assessments: Assessments
    joint: Mapping[Slot, frozenset[Slot]]  # see :func:`joint_moves`
    heals: bool
    is_busy: Callable[[Slot], bool]

    def in_order(self) -> Sequence[Assessment]:
        """Who restores comes first, then lower environments."""
        return sorted(self.assessments.values(), key=lambda assessment: not assessment.restores)

    def waits_for(self, assessment: Assessment) -> str:
        """What a deployment, or the record of a hold, waits for without anybody having to do anything."""
        if not is_due(assessment) and assessment.hold is None:
            return ""
        if assessment.restores and assessment.retry and not self.seen.registry_down:
            return assessment.retry  # the answer is on its way: what was pinned and switched to may stay
        if assessment.drift and not self.heals and not self._was_cut_short(assessment.slot):
            return "PINRAIL_HEAL is off"
        if self.head.problem and not assessment.restores:
            return self.head.problem
        return self._who_comes_first(assessment) or self._who_has_the_port(assessment)

    def _was_cut_short(self, slot: Slot) -> bool:
        """Its server has stopped to accept and nobody follows: a switch of ours that has to come to its end."""
        roles = {server.role for server in self.seen.servers if server.spec.slot == slot}
        return Role.STANDBY in roles and Role.LIVE not in roles

    def _who_comes_first(self, assessment: Assessment) -> str:
        changes = assessment.goal is not None and assessment.goal.purpose is Purpose.CHANGE  # no version is promoted
        environment, _ = self.seen.pin(assessment.slot)
        if assessment.restores or changes or environment is None or environment.after is None:
            return ""
        first = self.assessments.get(Slot(environment.after, assessment.slot.model))
        if first is None or first.pinned != assessment.pinned:
            return ""
        pending = first.unfetched is not None or (first.goal is not None and not first.in_sync and not first.drift)
        return f"{first.slot} comes first" if pending or self.is_busy(first.slot) else ""

    def _who_has_the_port(self, assessment: Assessment) -> str:
        owner = owner_of_port(self.seen, assessment)
        if owner is None or assessment.slot in self.joint:
            return ""
        other = self.assessments.get(owner)
        why = ""
        if other is not None and other.hold is not None:
            why = f", because it is {other.hold.state}: {other.hold.reason}"
        elif other is not None and (first := self._who_comes_first(other)):
            circle = first.startswith(f"{assessment.slot} ")
            why = f", because {first}" + (
                ": pin the new version first, and exchange the ports after it" if circle else ""
            )
        return f"{owner} has its port still{why}".partition("\n")[0]


def is_due(assessment: Assessment) -> bool:
    """Something is to be done about the slot, or found out."""
    return not assessment.in_sync or assessment.unfetched is not None


def joint_moves(seen: Observation, assessments: Assessments) -> Mapping[Slot, frozenset[Slot]]:
    """The slots that can only change their ports in one step with others, each with all of its group."""
    held = {server.spec.slot: server.spec.port for server in seen.servers if server.role is Role.LIVE}
    owners: dict[Slot, Slot | None] = {}
    for slot, assessment in assessments.items():
        spec = assessment.goal.spec if assessment.goal else None
        switches = any(action.kind is ActionKind.SWITCH for action in assessment.actions)
        if spec is None or not switches or held.get(slot) == spec.port:
            continue
        owner = owner_of_port(seen, assessment)
        if owner is not None or not assessment.restores:  # who comes back to a port that is free does so alone, first
            owners[slot] = owner
    return {slot: group for group in exchanges(owners) for slot in group}
