"""The reference, generated from the code that it is about."""

import inspect
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin

from prometheus_client.core import Metric
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo, OptionInfo

TYPES = {"bool": "`true` or `false`", "int": "a whole number", "float": "a number", "Path": "a path"}
JSON_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "object": "a mapping",
    "array": "a list",
    "boolean": "`true` or `false`",
}
LONGEST_PATTERN = 60  # characters that a reader takes in
UNBOUNDED = 2**62  # a maximum above this is none for a reader


def reference_pages() -> dict[str, str]:
    """Page -> text."""
    return {
        "reference/settings.md": settings(),
        "reference/cli.md": command_line(),
        "reference/exit-codes.md": exit_codes(),
        "reference/environment-file.md": environment_file(),
        "reference/metrics.md": metrics(),
        "reference/admin-api.md": admin_api(),
        "reference/schemas.md": schemas(),
    }


def settings() -> str:
    """Every setting with its type, limits, default and meaning."""
    from receiver.settings import Settings

    rows = [
        (f"`{name.upper()}`", _allowed(field), _default(field), (field.description or "").replace("``", "`"))
        for name, field in Settings.model_fields.items()
    ]
    return _page(
        ("Settings", "`receiver/settings.py`"),
        "Environment variables, or `NAME=value` lines of `.env` in the directory in which `pinrail` is started; the "
        "environment wins. A secret can be in a file that `NAME_FILE` names. "
        "[Run Pinrail](../operations.md#settings) has more.",
        _table(("variable", "allowed", "default", "meaning"), rows),
    )


def _allowed(field: FieldInfo) -> str:
    annotation = str(field.annotation)
    if "Secret" in annotation:
        return "a secret"
    words = [f"`{word}`" for word in get_args(field.annotation) if isinstance(word, str)]
    if words:
        return ", ".join(words)
    kind = next((said for name, said in TYPES.items() if name in annotation), "text")
    limits = [
        f"{said} {getattr(limit, name)}"
        for limit in field.metadata
        for name, said in (("ge", "from"), ("gt", "above"), ("le", "to"))
        if getattr(limit, name, None) is not None
    ]
    patterns = [f"matching `{limit.pattern}`" for limit in field.metadata if getattr(limit, "pattern", None)]
    return " ".join([kind, *limits, *patterns])


def _default(field: FieldInfo) -> str:
    if field.default in (None, ()):
        return ""
    shown = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
    return f"`{shown.lower() if isinstance(field.default, bool) else shown}`"


def command_line() -> str:
    """Every command with its arguments and options."""
    from receiver.cli.app import app

    commands = [info.callback for info in app.registered_commands if info.callback is not None]
    return _page(("Command line", "`receiver/cli/app.py`"), *map(_command, commands))


def _command(callback: Callable[..., Any]) -> str:
    """One command, from its function: the types say what may be given."""
    name = callback.__name__.strip("_")
    usage, rows = [f"pinrail {name}"], []
    for parameter in inspect.signature(callback, eval_str=True).parameters.values():
        kind, info = get_args(parameter.annotation)
        if info.hidden:
            continue
        required = parameter.default is inspect.Parameter.empty
        if isinstance(info, ArgumentInfo):
            shown = str(info.metavar or parameter.name.upper())
            usage.append(shown if required else f"[{shown}]")
            rows.append((f"`{shown}`", str(info.help or "")))
            continue
        names = info.param_decls or (f"--{parameter.name}",)
        if required:
            usage.append(f"{names[0]} {parameter.name.upper()}")
        rows.append((", ".join(f"`{each}`" for each in names), _option(info, kind, parameter.default)))
    meaning = (inspect.getdoc(callback) or "").replace("``", "`")
    parts = [f"## pinrail {name}\n", f"{meaning}\n", f"```console\n$ {' '.join(usage)}\n```\n"]
    if rows:
        parts.append(_table(("argument or option", "meaning"), rows))
    return "\n".join(parts)


def _option(info: OptionInfo, kind: Any, default: object) -> str:
    words = next((get_args(part) for part in (kind, *get_args(kind)) if get_origin(part) is Literal), ())
    said = [str(info.help or "")]
    if words:
        said.append(f"One of {', '.join(f'`{word}`' for word in words)}.")
    if default is inspect.Parameter.empty:
        said.append("Required.")
    elif default is not None and default is not False:
        said.append(f"Default: `{default}`.")
    return " ".join(said)


def exit_codes() -> str:
    """What a command's exit code means, and how failures are printed."""
    from receiver.cli.failure import EXIT_CODES, KINDS

    return _page(
        ("Exit codes", "`receiver/cli/failure.py`"),
        _table(("code", "meaning"), [(f"`{code}`", meaning) for code, meaning in EXIT_CODES.items()]),
        "`python -m ml.evaluate` exits with 0 if all checks pass, 1 if one does not or nothing could be measured, 2 "
        "if there was no training line on stdin.",
        "## Failures as JSON",
        "With `--json`, a command that fails prints an object with the one key `error` on standard output. Its "
        "fields are `kind`, `message` and `hint`; [schema](../schemas/error.json).",
        _table(("kind", "what to do"), [(f"`{kind}`", todo) for kind, todo in KINDS.items()]),
    )


def environment_file() -> str:
    """Every field of an environment file, at any depth."""
    from ml.environment.schema import json_schema

    root = json_schema()
    rows = [(f"`{path}`", kind, need, text) for path, kind, need, text in _fields(root, root, "")]
    return _page(
        ("Environment file", "`ml/environment/schema.py`"),
        "One file per environment, `environments/<name>.yaml`. [Environments in short](../environments.md) says how "
        "to use it, [the gate](../gate.md) what its checks measure.",
        _table(("field", "value", "", "meaning"), rows),
    )


def _fields(root: Mapping[str, Any], node: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    for name, raw in node.get("properties", {}).items():
        found = _resolved(root, raw)
        here = f"{path}.{name}" if path else name
        needed = "required" if name in node.get("required", ()) else ""
        yield here, _value(found), needed, str(raw.get("description") or found.get("description") or "")
        yield from _fields(root, found, here)
        for inside in found.get("patternProperties", {}).values():
            yield from _fields(root, _resolved(root, inside), f"{here}.<name>")


def _resolved(root: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        node = root["$defs"][node["$ref"].rpartition("/")[2]]
    options = [option for option in node.get("anyOf", ()) if option.get("type") != "null"]
    return {**_resolved(root, options[0]), **node} if len(options) == 1 else node


def _value(node: Mapping[str, Any]) -> str:
    words = node.get("enum") or ([node["const"]] if "const" in node else [])
    if words:
        return ", ".join(f"`{word}`" for word in words if word is not None)
    limits = [
        f"{said} {node[name]:g}"
        for name, said in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"))
        if name in node and node[name] < UNBOUNDED
    ]
    kind = JSON_TYPES.get(str(node.get("type")), "a mapping" if "properties" in node else "")
    pattern = str(node.get("pattern", ""))
    shown = f"matching `{pattern}`" if 0 < len(pattern) < LONGEST_PATTERN else ""
    return " ".join(filter(None, [kind, *limits, shown]))


def metrics() -> str:
    """What the receiver and each model server publish for Prometheus."""
    from receiver.adapters.sqlite.database import Database
    from receiver.adapters.sqlite.queries import StateQueries
    from receiver.admin.metrics import StateCollector
    from serving.metrics import LogMetrics, Metrics

    with tempfile.TemporaryDirectory() as scratch:
        empty: Any = SimpleNamespace(
            quarantined=list,
            environments=lambda: SimpleNamespace(environments=(), problem=None),
            realised=list,
            label_counts=dict,
            dropped=dict,
            figures=lambda: SimpleNamespace(drift=()),
        )
        database = Database(Path(scratch) / "empty.db")
        receiver = _metric_table(StateCollector(StateQueries(database), empty).collect())
        database.close()
    server = Metrics({"environment": "", "model": "", "version": ""})
    server.log = LogMetrics()
    return _page(
        ("Metrics", "`receiver/admin/metrics.py` and `serving/metrics.py`"),
        "In Prometheus's text format.",
        "## Receiver",
        "`http://127.0.0.1:9001/metrics`, the admin listener.",
        receiver,
        "## Model server",
        "`/metrics` of each model server.",
        _metric_table(server.collect()),
    )


def admin_api() -> str:
    """What programs can ask the admin listener, from its own description."""
    from receiver.adapters.sqlite.database import Database
    from receiver.admin.api import OPENAPI
    from receiver.admin.app import admin_app
    from receiver.core.redact import Redactor
    from receiver.planning.status import StatusReport

    with tempfile.TemporaryDirectory() as scratch:
        database = Database(Path(scratch) / "empty.db")
        described = admin_app(database, StatusReport, Redactor()).openapi()
        database.close()
    parts = [part for path, methods in described["paths"].items() for part in _operations(path, methods)]
    return _page(
        ("Admin API", "`receiver/admin/api.py`"),
        f"On the admin listener, `http://127.0.0.1:9001`; `{OPENAPI}` is this as OpenAPI.",
        described["info"]["description"],
        *parts,
    )


def _operations(path: str, methods: Mapping[str, Any]) -> Iterator[str]:
    for method, operation in methods.items():
        yield f"## {method.upper()} {path}"
        yield f"{operation['summary']}."
        rows = [
            (f"`{one['name']}`", str(one.get("description", "")), str(one["schema"].get("default", "")))
            for one in operation.get("parameters", ())
        ]
        if rows:
            yield _table(("parameter", "meaning", "default"), rows)
        yield _table(
            ("status", "answer"), [(f"`{code}`", one["description"]) for code, one in operation["responses"].items()]
        )


def _metric_table(families: Iterable[Metric]) -> str:
    rows = [(f"`{f.name}{'_total' if f.type == 'counter' else ''}`", f.type, f.documentation) for f in families]
    return _table(("metric", "type", "meaning"), rows)


def schemas() -> str:
    """The JSON schemas of everything that is printed or answered."""
    from receiver.cli.schemas import PUBLISHED

    return _page(
        ("JSON schemas", "the classes that are printed"),
        "What commands print with `--json`, and what the admin listener answers below `/api`.",
        "".join(f"- [{name}](../schemas/{name}.json)\n" for name in PUBLISHED),
    )


def _page(head: tuple[str, str], *parts: str) -> str:
    """A page with its title, where it comes from, and its parts."""
    title, source = head
    return "\n\n".join([f"# {title}", f"*Generated from {source}.*", *parts]) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
