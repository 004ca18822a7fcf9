"""All environment files of one commit as one value, or every reason why not. Pure.

One bad file and nothing is touched: there is no such thing as half of a desired state.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ml.environment.file import (
    Environment,
    EnvironmentInvalid,
    Pin,
    did_you_mean,
    is_yaml,
    parse_environment,
    wrong_suffix,
)
from ml.environment.schema import NAME
from receiver.core.errors import Rejected
from receiver.core.redact import plain

FOLDER = PurePosixPath("environments")


@dataclass(frozen=True, slots=True)
class Desired:
    """What git asks for. ``environments`` are in promotion order: each after the one that it follows."""

    environments: tuple[Environment, ...]

    def environment(self, name: str) -> Environment:
        """The environment of that name. Rejected, with what was meant, where there is none."""
        known = [environment.name for environment in self.environments]
        if name not in known:
            raise Rejected(f"there is no environment {name!r}: {did_you_mean(name, known)}")
        return self.environments[known.index(name)]

    def pin(self, environment: str, model: str) -> Pin:
        """The pin of a model in an environment. Rejected, with what was meant, where there is none."""
        models = self.environment(environment).models
        if model not in models:
            raise Rejected(
                f"{environment} has no pin for {model!r}: {did_you_mean(model, list(models))}; "
                f"`pinrail adopt {environment} {plain(model)}` adds a new model"
            )
        return models[model]


def path_of(environment: str) -> str:
    """Where an environment's file is in the repository."""
    return str(FOLDER / f"{environment}.yaml")


def is_environment_file(path: str) -> bool:
    """``environments/<name>.yaml`` counts, and so does another ending of YAML, to be refused by name.

    READMEs, the schema and folders below it don't.
    """
    return PurePosixPath(path).parent == FOLDER and is_yaml(path)


def environment_of(text: str) -> str | None:
    """Whose file a path, or a line that begins with one, is about; None where it is about none."""
    found = re.match(rf"{FOLDER}/({NAME[1:-1]})\.(?i:ya?ml)(?![^:])", text)
    return found[1] if found else None


def read_pins(
    files: Mapping[str, bytes], known: Collection[str] = (), own_ports: Mapping[int, str] | None = None
) -> Desired:
    """Read the files of one commit (path -> content).

    ``known`` are the environments that serve something now: one whose file is gone is refused, never torn down.
    ``own_ports``: the receiver's own, each with the setting that names it.
    Rejected lists all errors of all files, one per line.
    """
    errors: list[str] = []
    environments: list[Environment] = []
    relevant = sorted(path for path in files if is_environment_file(path))
    for path in relevant:
        if (wrong := wrong_suffix(path)) is not None:
            errors.append(plain(wrong))
            continue
        if not re.fullmatch(NAME, PurePosixPath(path).stem):
            errors.append(f"{path!a}: found a file name that is no environment's name, allowed {NAME}: rename it")
            continue
        try:
            environments.append(parse_environment(files[path], path))
        except EnvironmentInvalid as error:
            errors.append(str(error))
    errors += _absent(relevant, known)
    if not errors:
        errors += [
            *_misnamed(relevant, environments),
            *_shared(environments, own_ports or {}),
            *_unordered(environments),
        ]
    if errors:
        raise Rejected("\n".join(errors))
    return Desired(_in_promotion_order(environments))


def _absent(paths: Sequence[str], known: Collection[str]) -> Iterator[str]:
    if not paths:
        yield f"{FOLDER}: found no environment file, allowed one or more: put {path_of('staging')} back"
    for name in sorted(known):
        if path_of(name) not in paths:
            yield (
                f"{path_of(name)}: found nothing, but {name} still serves models: put the file back; "
                "to stop serving there, empty its `models` to `{}` first and remove the file after that is merged"
            )


def _misnamed(paths: Sequence[str], environments: Sequence[Environment]) -> Iterator[str]:
    for path, environment in zip(paths, environments, strict=True):
        if path != path_of(environment.name):
            own = PurePosixPath(path).stem
            yield (
                f"{path}:{environment.lines['environment',]}: environment: found {environment.name!r}, "
                f"allowed {own!r}, the file's name: change one of them"
            )


def _shared(environments: Sequence[Environment], own_ports: Mapping[int, str]) -> Iterator[str]:
    """A name, a port, an alias and a stage each belong to one."""
    first = {("port", str(port)): f"the receiver ({setting})" for port, setting in own_ports.items()}
    for what, value, where in _claims(environments):
        # MySQL and Unity Catalog know one alias where only the case differs, many a file system one file.
        owner = first.setdefault((what, str(value).casefold()), where)
        if owner != where:
            yield f"{where}: found {value}, which {owner} has too, allowed one {what} each: change one of them"


def _claims(environments: Sequence[Environment]) -> Iterator[tuple[str, object, str]]:
    for environment in environments:
        path, lines = path_of(environment.name), environment.lines
        yield "name", environment.name, f"{path}:{lines['environment',]}: environment"
        yield "alias", environment.alias, f"{path}:{lines['registry', 'alias']}: registry.alias"
        if environment.stage is not None:
            yield "stage", environment.stage, f"{path}:{lines['registry', 'stage']}: registry.stage"
        for model, pin in environment.models.items():
            yield "port", pin.port, f"{path}:{lines['models', model, 'port']}: models.{model}.port"


def _unordered(environments: Sequence[Environment]) -> Iterator[str]:
    by_name = {environment.name: environment for environment in environments}
    for environment in environments:
        if environment.after is None:
            continue
        where = f"{path_of(environment.name)}:{environment.lines['policy', 'after']}: policy.after: found"
        if environment.after not in by_name:
            meant = did_you_mean(environment.after, [*by_name])
            yield f"{where} {environment.after!r}, allowed one of the environments: {meant}"
        elif environment in (chain := _before(environment, by_name)):
            circle = " after ".join([environment.name, *(e.name for e in chain)])
            yield f"{where} a circle ({circle}), allowed one that ends: remove one `after`"


def _before(environment: Environment, by_name: Mapping[str, Environment]) -> list[Environment]:
    """What an environment comes after, nearest first; stops where the chain ends or returns to its start."""
    chain: list[Environment] = []
    name = environment.after
    while name is not None and name in by_name and by_name[name] not in chain:
        chain.append(by_name[name])
        name = by_name[name].after
    return chain


def _in_promotion_order(environments: Sequence[Environment]) -> tuple[Environment, ...]:
    by_name = {environment.name: environment for environment in environments}
    return tuple(sorted(environments, key=lambda e: (len(_before(e, by_name)), e.name)))
