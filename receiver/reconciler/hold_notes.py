"""Recording what policy holds back, a bounded number in a turn."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from receiver.core.state import Slot
from receiver.planning.assess import Assessment
from receiver.planning.observe import Observation
from receiver.ports import Alone
from receiver.reconciler.reconcile import is_unrecorded, note_hold
from receiver.reconciler.slot_task import SlotState
from receiver.services import Services

HOLDS_PER_TURN = 200  # recorded before the servers are asked again


def note_holds(
    services: Services,
    seen: Observation,
    held: Sequence[Assessment],
    slots: Mapping[Slot, SlotState],
    alone: Alone,
) -> bool:
    """Record holds, each once; of one environment the last has the commit's status, for all of them.

    False: not all of them yet.
    """
    commit = seen.snapshot.commit
    unknown = [a for a in held if slots[a.slot].noted != (commit, a.pinned, a.hold)]
    unnoted = []
    for assessment in sorted(unknown, key=lambda assessment: assessment.slot):
        with alone(assessment.slot):
            if is_unrecorded(services, seen, assessment):
                unnoted.append(assessment)
            else:
                slots[assessment.slot].noted = commit, assessment.pinned, assessment.hold
    for nth, (assessment, following) in enumerate(zip_longest(unnoted, unnoted[1:])):
        if nth == HOLDS_PER_TURN:
            return False
        more = following is not None and following.slot.environment == assessment.slot.environment
        with alone(assessment.slot):
            note_hold(services, seen, assessment, with_status=not more)
            slots[assessment.slot].noted = commit, assessment.pinned, assessment.hold
    return True
