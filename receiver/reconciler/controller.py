"""The controller: decides in turns what each slot needs, and has it done on a thread per slot.

A turn asks the servers, and no one else: git and the registry are asked by threads of their own, whose newest answers
it works from. So healing, rollback and deployment of a slot wait for no other slot, nor for anything outside.

What if it dies halfway? Deployments that were running are closed as interrupted at the next start, and the first turn
plans from the world as it is then. The same is done where its memory failed it: a state file that is locked or full.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from receiver.core.backoff import Backoff
from receiver.core.deployment import (
    CRASH_WINDOW_SECONDS,
    Cause,
    Outcome,
    Trigger,
    hindrance,
    is_degraded,
    restarts,
)
from receiver.core.errors import Interrupted, InvalidPins, PinrailError, Retryable
from receiver.core.plan import ActionKind, Purpose
from receiver.core.port_moves import given_twice
from receiver.core.quarantine import terms_of
from receiver.core.state import Role, Slot
from receiver.notifications.announce import recovery
from receiver.notifications.heads import publish_head
from receiver.planning.assess import Assessment
from receiver.planning.observe import Observation, read_desired, wanted
from receiver.planning.slot_trouble import SlotTroubles, bug
from receiver.planning.status import Activity, StatusBoard
from receiver.reconciler.background import BackgroundTask
from receiver.reconciler.exchange import Exchange, taking_part
from receiver.reconciler.fetcher import Head
from receiver.reconciler.hold_notes import note_holds
from receiver.reconciler.interruptible import interruptible
from receiver.reconciler.reconcile import (
    Circumstances,
    carry_out,
    close_interrupted,
    owner_of_port,
    reconcile_slot,
    release_changed,
)
from receiver.reconciler.registry_view import RegistryWatch
from receiver.reconciler.slot_task import SlotState, SlotTask, why_interrupt
from receiver.reconciler.turn_order import Turn, is_due, joint_moves
from receiver.services import Services

log = logging.getLogger(__name__)

DIED = "the receiver ended, or lost its state file, before this deployment ended"
STOPPED = "the receiver was stopped"
TURN_SECONDS = 2.0  # how often the servers are asked; most changes wake a turn at once
CHECK_SECONDS = 0.1  # how long a hold that another process records may stay unseen
START_OVER_SECONDS = 5.0  # how long to leave a state file alone that could not be read or written
STOP_SECONDS = 3.0
MAX_NEW = 32  # at most so many new deployments run; what restores or rolls back is not counted
BACKOFF = Backoff(first=1.0, longest=60.0)
AGAIN = Backoff(first=60.0, longest=600.0)  # for what an operator has to mend, where each attempt starts a server
CRASH_BACKOFF = Backoff(first=1.0, longest=60.0)


class Controller:
    """Owns every decision about what is done when. ``parallel`` servers start at once, and as many are restored."""

    def __init__(
        self,
        services: Services,
        status_board: StatusBoard,
        *,
        parallel: int,
        poll_seconds: float,
        after: Sequence[BackgroundTask] = (),
    ) -> None:
        self._services = services
        self._registry = RegistryWatch(services.registry, poll_seconds, self.wake)
        self._status_board = status_board
        self._after = after
        self._starts = {restoring: threading.BoundedSemaphore(parallel) for restoring in (False, True)}
        self._slots: dict[Slot, SlotState] = {}
        self._written_at: dict[str, float] = {}  # when a task last wrote to the registry, by model; monotonic
        self._head: Head | None = None
        self._publishing = threading.Lock()
        self._ask_again = False  # a head was published since the last turn
        self._holds: object = None
        self._problem = ""
        self._troubles = SlotTroubles()
        self._drift: frozenset[str] = frozenset()
        self._woken = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="controller", daemon=True)

    def start(self) -> None:
        """Begin with the pins that were valid last: what serves is kept alive before git has answered."""
        self._registry.start()
        self._thread.start()

    def end(self) -> None:
        """Have everything give way; returns at once."""
        self._stop.set()
        self._woken.set()

    def stop(self) -> None:
        """End it and wait, for a few seconds at most: whatever is left behind, the next start finds."""
        self.end()
        self._thread.join(STOP_SECONDS + 1.0)
        self._registry.stop()

    def wake(self) -> None:
        """Take a turn now."""
        self._woken.set()

    def publish(self, head: Head) -> None:
        """See :meth:`receiver.reconciler.fetcher.Heads.publish`."""
        with self._publishing:
            self._head = head
        self._ask_again = True
        self._registry.wake()
        self._woken.set()

    def keep(self, problem: str) -> None:
        """See :meth:`receiver.reconciler.fetcher.Heads.keep`."""
        with self._publishing:
            if self._head is not None:
                self._head = replace(self._head, problem=problem)
        self._woken.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._begin_with(self._last_valid())
                while not self._stop.is_set():
                    self._turn()
                    self._wait()
            except Retryable as error:
                log.error("starting over in %g s: %s", START_OVER_SECONDS, error)  # noqa: TRY400 - it says it all
                self._status_board.lose(str(error))
            except Exception as error:
                log.exception("starting over in %g s: a bug, or a state file that cannot be read", START_OVER_SECONDS)
                self._status_board.lose(f"the controller starts over: {type(error).__name__}: {error}")
            self._stop.wait(START_OVER_SECONDS)
        tasks = list(self._tasks())
        for task in tasks:
            task.interrupt.request(STOPPED)
        deadline = time.monotonic() + STOP_SECONDS
        for task in tasks:
            if task.thread is not None:
                task.thread.join(max(0.0, deadline - time.monotonic()))

    def _begin_with(self, head: Head | None) -> None:
        with self._publishing:
            if self._head is None:  # else it was fetched meanwhile
                self._head = head

    def _last_valid(self) -> Head | None:
        snapshot = self._services.journal.remembered_pins()
        if snapshot is None:
            return None
        with contextlib.suppress(InvalidPins):  # another Pinrail found them valid
            desired = read_desired(self._services, snapshot)
            return Head(snapshot, desired, "startup", "the branch has not been fetched yet")
        return None

    def _wait(self) -> None:
        deadline = time.monotonic() + TURN_SECONDS
        while not self._woken.wait(CHECK_SECONDS):
            if time.monotonic() > deadline or self._services.journal.holds_version() != self._holds:
                break
        self._woken.clear()

    def _turn(self) -> None:
        """Look at the servers once, and begin what can be begun."""
        self._holds = self._services.journal.holds_version()
        self._troubles.begin_turn()
        for state in self._slots.values():
            if state.task is not None and state.task.ended:
                self._conclude(state, state.task)
        busy = [task.slot for task in self._tasks()]
        for left in close_interrupted(self._services, DIED, busy, self._troubles.alone):
            log.warning("deployment %d of %s was interrupted", left.id, left.draft.slot)
        head = self._head
        if head is None:
            return
        if self._ask_again:
            self._ask_again = False
            for state in self._slots.values():
                state.not_before = 0.0
        seen = self._observe(head)
        if seen is None:
            return
        self._registry.want(wanted(seen))
        assessments = {slot: self._troubles.assess(self._services, seen, slot) for slot in seen.slots()}
        self._report_drift(assessments.values())
        joint = joint_moves(seen, assessments)
        turn = Turn(head, seen, assessments, joint, self._services.heal, self._is_busy)
        self._interrupt(turn)
        self._decide(turn)
        self._publish(head, seen, assessments)

    def _observe(self, head: Head) -> Observation | None:
        journal, answer = self._services.journal, self._registry.answer
        try:
            servers = self._services.target.observe()
        except PinrailError as error:
            if str(error) != self._problem:
                log.warning("the servers cannot be observed: %s", error)
            self._problem = str(error)
            self._status_board.lose(self._problem)
            return None
        self._problem = ""
        seen = Observation(
            head.snapshot,
            head.desired,
            servers,
            answer.about(self._written_at),
            answer.down,
            journal.verified(),
            journal.quarantined(),
            journal.frozen(),
            {task.slot: task.version for task in self._tasks()},
        )
        if not head.problem and seen.quarantined:
            release_changed(self._services, seen, self._troubles.alone)
            seen = replace(seen, quarantined=journal.quarantined())
            self._holds = journal.holds_version()
        now = time.time()
        for server in servers:
            if server.role is Role.LIVE:
                self._slots.setdefault(server.spec.slot, SlotState()).live_at = now
        return seen

    def _interrupt(self, turn: Turn) -> None:
        """Have what has become wrong give way."""
        for task in self._tasks():
            reason = why_interrupt(turn.head, turn.seen, task)
            assessment = turn.assessments.get(task.slot)
            if not reason and task.interrupt.installing and assessment is not None and _starts_again(assessment):
                reason = "what serves has ended, and comes back first"
            if reason:
                task.interrupt.request(reason)

    def _decide(self, turn: Turn) -> None:
        """Begin what is due, and record what is held back."""
        held: list[Assessment] = []
        together: dict[frozenset[Slot], list[Assessment]] = {}
        new = sum(not task.restores for task in self._tasks())
        for assessment in turn.in_order():
            slot = assessment.slot
            with self._troubles.alone(slot):
                if not self._is_to_begin(turn, assessment, held):
                    continue
                if slot in turn.joint:
                    together.setdefault(turn.joint[slot], []).append(assessment)
                elif assessment.restores or new < MAX_NEW:
                    new += not assessment.restores
                    self._begin(turn, assessment)
        for group, ready in together.items():
            self._begin_together(turn, group, ready)
        if not note_holds(self._services, turn.seen, held, self._slots, self._troubles.alone):
            self._woken.set()

    def _is_to_begin(self, turn: Turn, assessment: Assessment, held: list[Assessment]) -> bool:
        """Whether the slot is free, and something is due there. What is held back goes to ``held``."""
        state = self._slots.setdefault(assessment.slot, SlotState())
        if state.task is not None:
            return False
        state.waits = turn.waits_for(assessment)
        if state.waits:
            return False
        if assessment.hold is not None and not assessment.unfetched:
            held.append(assessment)
        return is_due(assessment) and time.monotonic() >= state.not_before and not self._pauses(assessment)

    def _begin_together(self, turn: Turn, group: frozenset[Slot], ready: Sequence[Assessment]) -> None:
        """Begin what changes ports in one step; nobody of it before all can."""
        missing = sorted(group - {assessment.slot for assessment in ready})
        ports = {a.slot: a.goal.spec.port for a in ready if a.goal is not None and a.goal.spec is not None}
        why = f"{missing[0]} has to change its port in the same step" if missing else given_twice(ports)
        exchange = Exchange(self._services.target, ports)
        for assessment in ready:
            if why:
                self._slots[assessment.slot].waits = why
            else:
                self._begin(turn, assessment, exchange)

    def _pauses(self, assessment: Assessment) -> bool:
        """A server that ends again and again is started after a growing pause."""
        if not assessment.drift or not _starts_again(assessment):
            return False
        earlier = restarts(self._services.journal.history(assessment.slot), time.time() - CRASH_WINDOW_SECONDS)
        ended = earlier[0].ended_at if earlier else None
        return ended is not None and time.time() < ended + CRASH_BACKOFF.after(len(earlier))

    def _begin(self, turn: Turn, assessment: Assessment, exchange: Exchange | None = None) -> None:
        environment, pin = turn.seen.pin(assessment.slot)
        goal = assessment.goal if not assessment.in_sync else None
        state = self._slots[assessment.slot]
        task = SlotTask(
            assessment.slot,
            goal.purpose if goal is not None else Purpose.PROMOTE,
            goal.spec.version if goal is not None and goal.spec is not None else assessment.pinned,
            terms_of(environment, pin) if environment is not None and pin is not None else "",
            time.time(),
            exchange,
        )
        task.thread = threading.Thread(
            target=self._work, args=(task, turn, assessment, state.live_at), name=f"{task.slot}", daemon=True
        )
        task.thread.start()  # RuntimeError: the machine has no thread left for it
        state.task = task

    def _work(self, task: SlotTask, turn: Turn, assessment: Assessment, live_at: float | None) -> None:
        seen = turn.seen
        services = interruptible(self._services, task.interrupt, self._starts[task.restores])
        if task.exchange is not None:
            services = taking_part(services, task.exchange, task.slot, task.interrupt.check)
        verified_at = assessment.verified.at if assessment.verified else None
        cause = "rollback" if task.purpose is Purpose.ROLL_BACK else turn.head.cause
        around = Circumstances(
            Cause(Trigger.REQUEST, cause),
            task.interrupt.check,
            lambda: self._claimed(task.slot),
            live_at if live_at is not None else verified_at,
            exchanges=task.exchange is not None,
        )
        try:
            if task.restores:
                task.result = carry_out(services, seen, assessment, around)
            else:
                views = services.registry.observe({task.slot.model: wanted(seen)[task.slot.model]})
                now = replace(seen, registry=views, registry_down=None)
                task.result = reconcile_slot(services, now, task.slot, around)
        except Interrupted:
            pass
        except (PinrailError, OSError) as error:
            log.warning("%s: %s", task.slot, error)
            task.failure = str(error)
        except Exception as error:
            log.exception("%s: a bug", task.slot)
            task.failure = bug(error)
        finally:
            if task.exchange is not None:
                task.exchange.leave(task.slot, None)
            task.ended = True
            self._woken.set()

    def _conclude(self, state: SlotState, task: SlotTask) -> None:
        """Take up what a task came to, and decide when to try again."""
        state.task, state.hindrance = None, task.failure
        with self._troubles.alone(task.slot):
            history = self._services.journal.history(task.slot)
            state.degraded, state.hindrance = is_degraded(history, time.time()), task.failure or hindrance(history)
        self._written_at[task.slot.model] = time.monotonic()
        self._registry.wake()
        for other in self._after:
            other.wake()
        result = task.result
        failed = result is None or result.outcome in (Outcome.INTERRUPTED, Outcome.NEEDS_HUMAN)
        retry = result.assessment.retry if result is not None else None
        if task.interrupt.requested or not (failed or retry):
            state.attempts = 0
            idle = result is not None and result.outcome is None and not result.assessment.actions
            if idle and not task.restores:
                state.not_before = time.monotonic() + AGAIN.first  # nothing new was found out
            return
        state.attempts += 1
        backoff = AGAIN if result is not None and result.undone else BACKOFF
        state.not_before = time.monotonic() + backoff.after(state.attempts)

    def _publish(self, head: Head, seen: Observation, assessments: Mapping[Slot, Assessment]) -> None:
        """Show what is so, and publish the commit status of environments where nothing is under way."""
        for slot, state in self._slots.items():
            with self._troubles.alone(slot):
                self._notice_recovery(seen, slot, state)
        if not head.problem:
            unsettled = {a.slot.environment for a in assessments.values() if self._is_unsettled(seen, a)}
            publish_head(self._services, seen, assessments.values(), unsettled)
        activities = {
            slot: Activity(state.task.purpose, state.task.version, state.task.began, state.task.interrupt.installing)
            if state.task is not None
            else Activity(
                waits=state.waits,
                degraded=state.degraded,
                hindrance=state.hindrance,
                trouble=self._troubles.of(slot),
            )
            for slot, state in self._slots.items()
        }
        self._status_board.update(seen, assessments, activities, head.problem)

    def _notice_recovery(self, seen: Observation, slot: Slot, state: SlotState) -> None:
        if state.degraded and not is_degraded(self._services.journal.history(slot), time.time()):
            state.degraded = False
            verified = seen.verified.get(slot)
            self._services.outbox.put(recovery(slot, verified.version if verified else None))

    def _report_drift(self, assessments: Iterable[Assessment]) -> None:
        if self._services.heal:
            return
        drift = frozenset(f"{a.slot}: {action}" for a in assessments if a.drift for action in a.actions)
        for line in sorted(drift - self._drift):
            log.warning("drift, left alone because PINRAIL_HEAL is off: %s", line)
        self._drift = drift

    def _tasks(self) -> list[SlotTask]:
        return [state.task for state in list(self._slots.values()) if state.task is not None]

    def _claimed(self, slot: Slot) -> Collection[int]:
        others = [task for task in self._tasks() if task.slot.model == slot.model and task.slot != slot]
        return [task.version for task in others if task.version is not None]

    def _is_unsettled(self, seen: Observation, assessment: Assessment) -> bool:
        """A deployment is under way or about to begin, and says itself how the pin stands."""
        begins = not assessment.in_sync and not assessment.drift and owner_of_port(seen, assessment) is None
        return self._is_busy(assessment.slot) or assessment.unfetched is not None or begins

    def _is_busy(self, slot: Slot) -> bool:
        state = self._slots.get(slot)
        return state is not None and state.task is not None


def _starts_again(assessment: Assessment) -> bool:
    """What was verified is to be brought back, and its server is gone."""
    return assessment.restores and any(action.kind is ActionKind.START for action in assessment.actions)
