"""Columns that ``log:`` is to keep private and that a version does not have: perhaps they are misspelt. Pure."""

import difflib
from collections.abc import Collection, Iterator

from ml.environment.file import Environment, LogPolicy


def unknown_private_columns(environment: Environment, model: str, columns: Collection[str]) -> list[str]:
    """What a reviewer should know of ``drop`` and ``hash``; ``columns`` are those of the version.

    An environment's log may name columns of its other models: there, only what is nearly one of these is named.
    """
    policy, pin = environment.log_for(model), environment.models.get(model)
    own = (pin is not None and pin.log is not None) or len(environment.models) == 1
    return [] if policy is None else list(_remarks(policy, columns, own=own))


def _remarks(policy: LogPolicy, columns: Collection[str], *, own: bool) -> Iterator[str]:
    for option, names in (("drop", policy.settings.drop), ("hash", policy.settings.hash)):
        for name in names:
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.7) if name not in columns else []
            if near:
                yield f"log.{option} names {name}, which this version does not have: did you mean {near[0]}?"
            elif own and name not in columns:
                yield f"log.{option} names {name}, which this version does not have: check its spelling"
