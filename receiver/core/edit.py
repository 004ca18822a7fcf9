"""Changing one pin in an environment file's text, and nothing else: comments and formatting stay. Pure."""

from dataclasses import replace

from ml.environment.file import did_you_mean, parse_environment
from ml.environment.schema import MAX_INTEGER
from ml.environment.strict_yaml import read_yaml
from receiver.core.errors import Rejected


def edit_pin(raw: bytes, model: str, version: int, file: str = "the environment file") -> bytes:
    """Return the file with the model's version replaced.

    An ``override`` beside the pin stays as it is: it names the version that it is for, and waives nothing for
    another. Raises EnvironmentInvalid (with ``file`` as the place) where the file is not valid, Rejected where it
    does not pin the model or the version is no registry version.
    """
    before = parse_environment(raw, file)
    if model not in before.models:
        raise Rejected(
            f"{file} has no pin for {model!r}: {did_you_mean(model, list(before.models))}; "
            "a new model is added there by hand, with its port"
        )
    if not 1 <= version <= MAX_INTEGER:
        raise Rejected(f"found version {version}, allowed a whole number from 1 to {MAX_INTEGER}")
    text = raw.decode()
    span = read_yaml(raw).spans["models", model, "version"]
    edited = f"{text[: span.start]}{version}{text[span.end :]}".encode()
    pins = {**before.models, model: replace(before.models[model], version=version)}
    if parse_environment(edited, file) != replace(before, models=pins):
        raise AssertionError(f"editing {file} would change more than the version of {model}")
    return edited
