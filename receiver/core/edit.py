"""Changing or adding one pin in an environment file's text, and nothing else: comments and formatting stay. Pure."""

import re
from dataclasses import dataclass, replace
from typing import Any

import yaml

from ml.environment.file import did_you_mean, parse_environment
from ml.environment.schema import MAX_INTEGER, NAME
from ml.environment.strict_yaml import Events, read_yaml
from receiver.core.errors import Rejected
from receiver.core.redact import plain


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
            f"`pinrail adopt {before.name} {plain(model)}` adds a new model"
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


@dataclass(frozen=True, slots=True)
class NewPin:
    """A pin to add."""

    model: str
    version: int
    port: int
    gate: str  # in YAML's flow style, such as ``{r2: {min: 0.3}}``


def add_pin(raw: bytes, pin: NewPin, file: str = "the environment file") -> bytes:
    """Return the file with one more pin, after the others.

    Raises EnvironmentInvalid where the file is not valid, or would not be with this pin; Rejected where it pins the
    model already, or no pin can have that name.
    """
    before = parse_environment(raw, file)
    if re.fullmatch(NAME, pin.model) is None:
        raise Rejected(f"found the name {pin.model!a}, allowed {NAME}: register the model under another name")
    if pin.model in before.models:
        known = before.models[pin.model]
        raise Rejected(
            f"{file} has a pin for {pin.model} already, of version {known.version}: "
            f"`pinrail promote` opens a pull request for another version"
        )
    text = raw.decode()
    edited = _with_entry(text, pin).replace("\n", "\r\n" if "\r\n" in text else "\n").encode()
    after = parse_environment(edited, file)
    if replace(after, models={name: found for name, found in after.models.items() if name != pin.model}) != before:
        raise AssertionError(f"editing {file} would change more than the pin of {pin.model}")
    return edited


def _with_entry(text: str, pin: NewPin) -> str:
    """The text with the pin in it, and with plain newlines."""
    text = text.replace("\r\n", "\n")
    root: Any = yaml.compose(text, Events)
    models = next(value for key, value in root.value if key.value == "models")
    start, end = models.start_mark.index, models.end_mark.index
    if models.flow_style and (models.value or "#" in text[start:end]):
        flow = f"{pin.model}: {{version: {pin.version}, port: {pin.port}, gate: {pin.gate}}}, "
        return f"{text[: start + 1]}{flow}{text[start + 1 :]}"
    if models.flow_style:  # `models: {}`, and perhaps a comment behind it
        rest, newline, below = text[end:].partition("\n")
        return f"{text[:start].rstrip()}{rest}\n{_entry(pin, '  ')}{below if newline else ''}"
    indent = " " * models.start_mark.column
    lines = text[:end].splitlines(keepends=True)
    own = len(lines)
    while _is_apart(lines[own - 1], indent):  # what stands before the next field belongs to that one
        own -= 1
    above = "".join(lines[:own])
    return f"{above}{'' if above.endswith(chr(10)) else chr(10)}{_entry(pin, indent)}{text[len(above) :]}"


def _is_apart(line: str, indent: str) -> bool:
    return not line.strip() or (line.lstrip().startswith("#") and not line.startswith(indent))


def _entry(pin: NewPin, indent: str) -> str:
    inner = indent * 2
    return (
        f"{indent}{pin.model}:\n"
        f"{inner}version: {pin.version} # the one line that a promotion changes\n"
        f"{inner}port: {pin.port}\n"
        f"{inner}gate: {pin.gate}\n"
    )
