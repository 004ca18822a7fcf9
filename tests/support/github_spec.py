"""GitHub's own description of its REST API as a judge of requests and answers, and its own webhook examples."""

import copy
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from jsonschema import Draft4Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

PACKAGES = Path(__file__).parent / "github" / "node_modules" / "@octokit"
DESCRIPTION = PACKAGES / "openapi" / "generated" / "api.github.com.json"
EXAMPLES = PACKAGES / "webhooks-examples" / "api.github.com" / "index.json"
NAME = "urn:github"
MISSING = "GitHub's API description is not here: `make github-descriptions` fetches it with npm"

# Answers that any operation may give and that the description does not repeat for each.
UNIVERSAL = {"401": "basic-error", "403": "basic-error", "404": "basic-error", "429": "basic-error"}


def require_description() -> None:
    """Skip the module where npm has not fetched the description; fail where it has to be there."""
    if not DESCRIPTION.exists():
        if os.environ.get("PINRAIL_REQUIRE_GITHUB"):
            raise AssertionError(MISSING)
        pytest.skip(MISSING, allow_module_level=True)


@cache
def webhook_example(event: str, action: str | None = None) -> dict[str, Any]:
    """A payload as GitHub publishes it. Do not change it; copy it first."""
    for group in json.loads(EXAMPLES.read_text(encoding="utf-8")):
        for example in group["examples"] if group["name"] == event else ():
            if action is None or example.get("action") == action:
                found: dict[str, Any] = example
                return found
    raise KeyError((event, action))


class Operation:
    """One operation of the API, with the names that its path was filled with."""

    def __init__(self, spec: "Spec", template: str, method: str, names: dict[str, str]) -> None:
        self.spec = spec
        self.id = f"{method.upper()} {template}"
        self.names = names
        self._node = spec.document["paths"][template][method]

    def check_request(self, query: str, body: bytes) -> Any:
        """Assert that the request is one that GitHub describes. Returns its JSON body."""
        parameters = {p["name"]: p for p in map(self.spec.resolve, self._node.get("parameters", ()))}
        for place, given in (("path", self.names), ("query", dict(parse_qsl(query, strict_parsing=bool(query))))):
            for name, text in given.items():
                assert parameters.get(name, {}).get("in") == place, f"{self.id} has no {place} parameter {name!r}"
                schema = parameters[name]["schema"]
                value = int(text) if schema.get("type") == "integer" and text.isdecimal() else text
                self.spec.check(value, schema, f"{self.id}: parameter {name}")
        if "requestBody" not in self._node:
            assert not body, f"{self.id} takes no body"
            return None
        data = json.loads(body)
        schema = self._node["requestBody"]["content"]["application/json"]["schema"]
        unknown = set(data) - set(schema.get("anyOf", [schema])[0]["properties"])
        assert not unknown, f"{self.id} knows no {unknown}"  # GitHub ignores them silently
        self.spec.check(data, schema, f"{self.id}: body")
        return data

    def check_answer(self, status: int, data: Any) -> None:
        """Assert that the answer is one that GitHub describes."""
        answer = self.spec.resolve(self._node["responses"].get(str(status), {}))
        if str(status) in self._node["responses"] and "content" not in answer:
            assert data is None, f"{self.id}: {status} has no body"
            return
        content = answer.get("content", {}).get("application/json")
        schema = content["schema"] if content else self.spec.document["components"]["schemas"][UNIVERSAL[str(status)]]
        self.spec.check(data, schema, f"{self.id}: answer {status}")

    def example(self, status: int, name: str | None = None) -> Any:
        """A copy of GitHub's example of that answer."""
        examples = self._node["responses"][str(status)]["content"]["application/json"]["examples"]
        chosen = examples[name] if name else next(iter(examples.values()))
        return copy.deepcopy(self.spec.resolve(chosen)["value"])


class Spec:
    """The whole description."""

    def __init__(self) -> None:
        self.document = json.loads(DESCRIPTION.read_bytes(), object_hook=_plain_json_schema)
        resource = Resource.from_contents(self.document, default_specification=DRAFT4)
        self._registry: Any = Registry().with_resource(NAME, resource)
        self._templates = [(template, _pattern(template)) for template in self.document["paths"]]
        # Templates without names first: /user before /{anything}.
        self._templates.sort(key=lambda pair: pair[0].count("{"))

    def operation(self, method: str, path: str) -> Operation:
        """Find what is called. AssertionError: GitHub has no such operation."""
        for template, pattern in self._templates:
            found = pattern.fullmatch(path)
            if found and method.lower() in self.document["paths"][template]:
                names = {key.replace("__", "-"): unquote(value) for key, value in found.groupdict().items()}
                return Operation(self, template, method.lower(), names)
        raise AssertionError(f"GitHub has no {method} {path}")

    def resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        """Follow a local reference."""
        while "$ref" in node:
            target: Any = self.document
            for part in node["$ref"].removeprefix(f"{NAME}#/").split("/"):
                target = target[part]
            node = target
        return node

    def check(self, value: Any, schema: dict[str, Any], what: str) -> None:
        """Assert that the value has that schema."""
        validator = Draft4Validator(schema, registry=self._registry, format_checker=FormatChecker())
        found = validator.iter_errors(value)
        errors = [f"{what}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in found]
        assert not errors, "\n".join(errors)


@cache
def spec() -> Spec:
    """The description, read once."""
    return Spec()


def _pattern(template: str) -> re.Pattern[str]:
    # The last name of a path such as a ref may hold slashes, encoded or not.
    names = iter(re.split(r"\{([\w-]+)\}", template))
    written = [re.escape(next(names))]
    for name in names:
        written += [f"(?P<{name.replace('-', '__')}>[^/]+)", re.escape(next(names))]
    if template.endswith("/git/refs/{ref}"):
        written[-2] = "(?P<ref>.+)"
    return re.compile("".join(written))


def _plain_json_schema(node: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0 says ``nullable`` where JSON Schema says ``null``; and references need the document's name."""
    if node.get("nullable") is True:
        del node["nullable"]
        return {"anyOf": [node, {"type": "null"}]}
    if isinstance(node.get("$ref"), str):
        node["$ref"] = NAME + node["$ref"]
    return node
