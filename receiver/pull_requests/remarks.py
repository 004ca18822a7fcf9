"""What may be a mistake in an environment file, beside the version that it pins: what it asks for never happens."""

import difflib
from collections.abc import Collection, Iterator
from pathlib import Path

from ml.environment.file import Environment, LogPolicy
from ml.gates.model_kind import Kind, kind_of
from serving.model.model_dir import read


def remarks(environment: Environment, model: str, artifacts: Path) -> Iterator[str]:
    """What a reviewer should know. ServingError: these artifacts are no model.

    An environment's log may name columns of its other models: there, only what is nearly one of these is named.
    """
    policy, pin = environment.log_for(model), environment.models.get(model)
    if policy is not None:
        own = (pin is not None and pin.log is not None) or len(environment.models) == 1
        yield from _unknown_columns(policy, [column.name for column in read(artifacts).columns], own=own)
    found = kind_of(artifacts)
    if environment.live is not None and found.kind is not Kind.CLASSIFICATION:
        yield f"policy.live asks for an accuracy, which labels never decide for this version: {found.because}"


def _unknown_columns(policy: LogPolicy, columns: Collection[str], *, own: bool) -> Iterator[str]:
    for option, names in (("drop", policy.settings.drop), ("hash", policy.settings.hash)):
        for name in names:
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.7) if name not in columns else []
            if near:
                yield f"log.{option} names {name}, which this version does not have: did you mean {near[0]}?"
            elif own and name not in columns:
                yield f"log.{option} names {name}, which this version does not have: check its spelling"
