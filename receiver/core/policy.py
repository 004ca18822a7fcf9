"""May this pin be deployed now, as far as gate and soak go? Asked before the first write, from plain facts. Pure.

``planning/assess.py`` asks about quarantines and holds before, and about the registry.

Each rule is a function that answers None (no objection) or a :class:`Hold`; :func:`decide` asks them in order and
the first objection stands. The rules do not apply to what is already verified live: healing needs no permission.
"""

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ml.environment.gate_schema import checks_of
from ml.evidence import CheckOutcome, Evidence, Verdict, gate_digest
from ml.evidence_key import signer
from receiver.core.deployment import Deployment, Outcome, longest_live
from receiver.core.quarantine import Quarantine


class HoldState(StrEnum):
    """How a pin is held. The journal records it under the deployment outcome of the same name; HELD waits."""

    REFUSED = "refused"  # until the pin, the version or the policy is changed
    WAITING = "waiting"  # until a time, or until something else is done
    QUARANTINED = "rolled-back"  # the version failed here
    NEEDS_HUMAN = "needs-human"  # neither the version nor the one before could be served
    HELD = "held"  # a person lets nothing new be deployed here

    @property
    def outcome(self) -> Outcome:
        """What it is recorded and published as."""
        return Outcome.WAITING if self is HoldState.HELD else Outcome(self.value)


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a pinned version is not deployed now; WAITING until ``until`` (epoch seconds), where that is known."""

    state: HoldState
    reason: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class PromotionRequest:
    """What the pin asks for, and everything that speaks for or against it."""

    environment: str
    model: str
    version: int
    digest: str  # recomputed from the artifacts
    registered: int  # as the registry says now
    gate: Mapping[str, Any]
    override: str | None  # the reason, where an override names exactly this version
    evidence: Evidence | None
    trusted: Collection[str] | None  # the public keys whose evidence counts; None: the receiver knows, we do not
    here: Sequence[Deployment]  # this slot's history, oldest first
    follows: str | None  # the environment that this one comes after
    there: Sequence[Deployment]  # that environment's history of the same model, oldest first
    soak_seconds: float
    now: float  # seconds since the epoch
    unconfined: str = ""  # the environment requires isolation, and why the target has none
    there_live: bool = True  # that environment serves it at this moment
    taken_out: Quarantine | None = None  # the last time that it failed there, or that a person took it out


def decide(request: PromotionRequest) -> Hold | None:
    """None: go. An override needs neither gate nor soak, and a version that has been live here needs nothing."""
    if was_live_here(request):
        return None
    return isolation(request) or (None if request.override is not None else gate(request) or soak(request))


def isolation(request: PromotionRequest) -> Hold | None:
    """A model gets no rights that its environment says no model may have."""
    if not request.unconfined:
        return None
    return _refuse(
        f"{request.environment} requires isolation, and a model would have the rights of this receiver's user: "
        f"{request.unconfined}: set PINRAIL_TARGET=compose, or take isolation out of the policy"
    )


def was_live_here(request: PromotionRequest) -> bool:
    """The same bytes were verified in this slot before: going back to them must work on a bad day too."""
    return any(
        d.state is Outcome.LIVE and d.draft.to_version == request.version and d.draft.digest == request.digest
        for d in request.here
    )


def gate(request: PromotionRequest) -> Hold | None:
    """Evidence exists, still describes these bytes and this gate, and every check passed."""
    if not checks_of(request.gate):
        return None
    what = f"{request.model} v{request.version}"
    again = (
        f"run `python -m ml.evaluate --model {request.model} --version {request.version} "
        f"--environment {request.environment}`"
    )
    evidence = request.evidence
    if evidence is None:
        return _refuse(f"{what} has no evidence for {request.environment}: {again}")
    doubt = why_not_believed(evidence, request.trusted)
    if doubt is not None:
        return _refuse(
            f"the evidence of {what} is not believed: {doubt}: {again} on the receiver's machine, or with the "
            f"PINRAIL_EVIDENCE_KEY of a key that {request.environment} trusts: {', '.join(request.trusted or ())}"
        )
    void = why_void(evidence, request)
    if void is not None:
        return _refuse(f"the evidence of {what} is void: {void}: {again}")
    checks = checks_of(request.gate)
    failed = [str(v) for v in evidence.verdicts if v.outcome is not CheckOutcome.PASS]
    failed += [f"not true: {v}" for v in evidence.verdicts if v.outcome is CheckOutcome.PASS and not _true(v, checks)]
    unmeasured = sorted(set(checks) - {v.name.partition(".")[0] for v in evidence.verdicts})
    if failed or unmeasured:
        said = "; ".join([*failed, *(f"not measured: {name}" for name in unmeasured)])
        return _refuse(f"{what} does not pass the gate of {request.environment}: {said}")
    return None


def why_not_believed(evidence: Evidence, trusted: Collection[str] | None) -> str | None:
    """Say why nobody who is trusted stands for this evidence; None: somebody does, or the receiver has to say."""
    if trusted is None:
        return None
    if not evidence.signature:
        return "it is not signed"
    signed = signer(evidence)
    if signed is None:
        return "its signature is not that of what it says"
    return None if signed in trusted else f"it is signed by {signed}"


COMPARING = {"champion", "contract", "replay"}  # checks of what the live version is, was asked or answered
RELATIONS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt, "==": operator.eq}


def _true(verdict: Verdict, checks: Mapping[str, Any]) -> bool:
    """Whether a PASS is one by its own numbers and, where a check has one limit, by that of the gate."""
    limit = checks.get(verdict.name)
    least, most = getattr(limit, "min", None), getattr(limit, "max", None)
    relation = RELATIONS.get(verdict.op)
    return (
        relation is not None
        and relation(verdict.value, verdict.threshold)
        and (least is None or verdict.value >= least)
        and (most is None or verdict.value <= most)
    )


def why_void(evidence: Evidence, request: PromotionRequest) -> str | None:
    """Say which of the things that the evidence is bound to has changed, or None where it stands."""
    about = (evidence.model, evidence.version, evidence.environment)
    if about != (request.model, request.version, request.environment):
        return f"it was recorded for {about[0]} v{about[1]} in {about[2]}"
    if evidence.model_digest != request.digest:
        return (
            f"the model has changed: measured were artifacts {_short(evidence.model_digest)}, "
            f"the registry now holds {_short(request.digest)}"
        )
    if evidence.registered != request.registered:
        return "it was recorded for another registration of this number"
    wanted = request.gate.get("data")
    if wanted is not None and evidence.data_digest != wanted.digest:
        return (
            f"the evaluation data has changed: measured were rows {_short(evidence.data_digest)}, "
            f"{request.environment} asks for {_short(wanted.digest)}"
        )
    if evidence.gate_digest != gate_digest(request.gate):
        return f"the gate of {request.environment} has changed since"
    return None


def outdated(evidence: Evidence, gate: Mapping[str, Any], live: int | None) -> str | None:
    """Say what went live since the gate compared the version with another one; None: nothing, or it compares nothing.

    No reason to refuse: its limits hold. Whoever merges should know, and Pinrail merges nothing so by itself.
    """
    if live in {None, evidence.version, evidence.champion} or not COMPARING & checks_of(gate).keys():
        return None
    compared = f"v{evidence.champion}" if evidence.champion else "no version"
    return (
        f"the gate compared v{evidence.version} with {compared}, and v{live} is live in {evidence.environment} now: "
        f"measure it again with `python -m ml.evaluate --model {evidence.model} --version {evidence.version} "
        f"--environment {evidence.environment}`"
    )


def soak(request: PromotionRequest) -> Hold | None:
    """Live and verified in the environment before this one, for as long as the policy says."""
    if request.follows is None:
        return None
    what = f"{request.model} v{request.version}"
    out = request.taken_out
    there = since_taken_out(request.there, out)
    longest, since = longest_live(there, request.version, request.digest, request.now)
    was_there = since is not None or longest > 0
    if was_there and longest >= request.soak_seconds:
        return None
    need = duration(request.soak_seconds)
    if since is None and out is not None:
        why = out.reason.partition("\n")[0]
        return _refuse(
            f"{what} was taken out of {request.follows}: {why}: it must be live there again for {need} first"
        )
    if since is not None and not request.there_live:
        return Hold(HoldState.WAITING, f"{what} is not running in {request.follows} at this moment")
    if since is None:
        return _refuse(
            f"{what} must be live in {request.follows} for {need} first; it is not live there now: "
            f"promote it to {request.follows} before {request.environment}"
        )
    until = since + request.soak_seconds
    return Hold(HoldState.WAITING, f"{what} has to stay live in {request.follows} for {need} first", until)


def since_taken_out(history: Sequence[Deployment], taken_out: Quarantine | None) -> Sequence[Deployment]:
    """The part of a slot's history that counts for a version: it was taken out, and has to prove itself anew."""
    return [d for d in history if taken_out is None or (d.ended_at or d.started_at) > taken_out.since]


def duration(seconds: float) -> str:
    """Seconds as an environment file has them: ``1h30m``."""
    parts = [(int(seconds // 3600), "h"), (int(seconds % 3600 // 60), "m")]
    rest = [f"{seconds % 60:g}s"] if seconds % 60 or seconds < 1 else []
    return "".join([f"{count}{unit}" for count, unit in parts if count] + rest)


def _refuse(reason: str) -> Hold:
    return Hold(HoldState.REFUSED, reason)


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]
