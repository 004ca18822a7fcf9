"""A state file with months of deployments in many slots, as a receiver would have left it, and their statuses."""

import json
import random
import time
from dataclasses import asdict
from pathlib import Path

from receiver.adapters.sqlite.database import Database
from receiver.core.plan import Action, ActionKind
from receiver.core.times import iso
from receiver.planning.status import SlotStatus, StatusReport

DAY = 86_400.0
ENVIRONMENTS = ("staging", "production")
NAMES = ("churn", "credit-risk", "demand", "fraud", "ltv", "pricing", "ranking", "routing", "spam", "support-intent")
STATES = ("in sync",) * 24 + ("deploying", "waiting", "rolled-back", "held", "degraded", "refused", "needs-human")
REASONS = {
    "deploying": "v{next} is being deployed since 14:02",
    "waiting": "{model} v{next} has to stay live in staging for 30m first, until 14:32",
    "rolled-back": "v{next} failed: the input example is refused: 500 from /predict",
    "held": "held: quarterly audit",
    "degraded": "its server ends again and again, and is started after a growing pause: see its log",
    "refused": "{model} v{next} does not pass the gate of {environment}: accuracy 0.771 < 0.8",
    "needs-human": "neither v{next} nor v{version} could be served: port 8001 is in use by another program",
}
STEPS = [Action(ActionKind.START, "v2", None, "candidate"), Action(ActionKind.SWITCH, "m", "v1", "v2")]


def fill(path: Path, deployments: int, models: int) -> tuple[Database, StatusReport]:
    """Write that many deployments over 60 days, evenly over two slots a model; the same each time."""
    chance = random.Random(7)  # noqa: S311 - not a secret
    database = Database(path)
    now = time.time()
    slots = [(environment, _name(number)) for environment in ENVIRONMENTS for number in range(models)]
    versions = dict.fromkeys(slots, 0)
    plan = json.dumps([asdict(step) for step in STEPS])
    with database.transaction() as db:
        for number in range(deployments):
            environment, model = slots[number % len(slots)]
            at = now - 60 * DAY + 59.9 * DAY * (number + chance.random()) / deployments
            before = versions[environment, model]
            kind = chance.random()
            state = "live" if kind < 0.9 else "rolled-back" if kind < 0.985 else "needs-human"
            cause = "drift" if before and kind < 0.15 else "push"
            after = before if cause == "drift" else before + 1
            versions[environment, model] = after if state == "live" else before
            cursor = db.execute(
                "INSERT INTO deployments (environment, model, from_version, to_version, digest, revision, cause,"
                " plan, state, reason, started_at, ended_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (environment, model, before or None, after, "sha256:" + "ab" * 32, f"{number:040x}", cause, plan,
                 state, "" if state == "live" else "the input example is refused", at, at + 12),
            )  # fmt: skip
            for place, step in enumerate(STEPS):
                db.execute(
                    "INSERT INTO steps VALUES (?,?,?,?,?,?)",
                    (cursor.lastrowid, place, json.dumps(asdict(step)), at, at + 1, "done"),
                )
    rows = [_status(slot, versions[slot], chance.choice(STATES), now) for slot in slots]
    return database, StatusReport("1f" * 20, None, rows)


def _name(number: int) -> str:
    base = NAMES[number % len(NAMES)]
    return f"{base}-model" if number < len(NAMES) else f"{base}-model-{number // len(NAMES)}"


def _status(slot: tuple[str, str], version: int, state: str, now: float) -> SlotStatus:
    environment, model = slot
    since = now - (hash(model) % 40 + 1) * 3600.0
    pinned = version if state in ("in sync", "degraded") else version + 1
    said = REASONS.get(state, "").format(environment=environment, model=model, version=version, next=version + 1)
    return SlotStatus(
        environment, model, pinned, version, version, version or None, state, said,
        "http://127.0.0.1:8001", since, iso(since),
    )  # fmt: skip
