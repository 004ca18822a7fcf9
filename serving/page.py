"""``/``: a page for people that says what is served here, and lets them ask it. No script or style from elsewhere."""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from serving.model_dir import Column

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color:#1b2733}
h1{font-size:1.5rem;margin:0}table{border-collapse:collapse}th{text-align:left;font-weight:600;padding-right:1.5rem}
td{overflow-wrap:anywhere}form{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:.7rem}
label{display:block;font-size:.85rem}input,select{font:inherit;width:100%;box-sizing:border-box;padding:.25rem}
button{font:inherit;padding:.4rem 1.2rem;grid-column:1/-1;justify-self:start}
pre{background:#f2f5f8;padding:.8rem;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){body{background:#14191f;color:#dfe6ee}pre{background:#202831}}
"""

# Reads the form into a record of the signature's types; an empty field of an optional column is null.
_SCRIPT = """
const [form,answer,curl]=["form","#answer","#curl"].map(s=>document.querySelector(s));
function record(){const r={};for(const field of form.elements){if(!field.name)continue;const v=field.value;
if(v===""&&field.dataset.optional)r[field.name]=null;
else if(field.dataset.kind==="number")r[field.name]=v===""?null:Number(v);
else if(field.dataset.kind==="boolean")r[field.name]=v==="true";else r[field.name]=v}return r}
function show(){const body=JSON.stringify(record()).replaceAll("'","'\\\\''");
curl.textContent=`curl -H 'Content-Type: application/json' -d '${body}' ${location.origin}/predict`}
form.addEventListener("input",show);form.addEventListener("submit",async event=>{event.preventDefault();
answer.textContent="...";try{const r=await fetch("predict",{method:"POST",headers:{"Content-Type":"application/json"},
body:JSON.stringify(record())});answer.textContent=r.status+"\\n"+JSON.stringify(await r.json(),null,2)}
catch(error){answer.textContent=String(error)}});show();
"""

# What the browser may do with this page: its own style and script, and requests to this server.
_DIGEST = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_DIGEST}'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def page(health: Mapping[str, Any], columns: Sequence[Column], example: Mapping[str, Any]) -> str:
    """The page, with a form field per column that is filled in from the model's example."""
    title = html.escape(f"{health['model']} version {health['version']}")
    facts = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in health.items()
        if value is not None
    )
    fields = "".join(_field(column, example.get(column.name)) for column in columns)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1><table>{facts}</table>"
        f"<h2>Ask it</h2><form>{fields}<button>Predict</button></form><pre id=answer aria-live=polite></pre>"
        f"<h2>The same from a shell</h2><pre id=curl></pre>"
        f'<p>For programs: <a href="openapi.json">OpenAPI</a>, <code>POST /predict</code>, '
        f"<code>POST /invocations</code> (MLflow), <code>/v2</code> (Open Inference Protocol).</p>"
        f"<script>{_SCRIPT}</script></html>"
    )


def _field(column: Column, value: Any) -> str:
    name = html.escape(column.name, quote=True)
    attributes = f'name="{name}"' + ("" if column.required else " data-optional=1")
    if column.type == "boolean":
        options = "".join(
            f"<option{' selected' if shown == json.dumps(value) else ''}>{shown}</option>"
            for shown in ([] if column.required else [""]) + ["false", "true"]
        )
        control = f"<select {attributes} data-kind=boolean>{options}</select>"
    else:
        is_number = column.type in {"integer", "long", "float", "double"}
        step = "1" if column.type in {"integer", "long"} else "any"
        kind = f"type=number step={step} data-kind=number" if is_number else "type=text"
        shown = "" if value is None else html.escape(str(value), quote=True)
        required = " required" if column.required and is_number else ""
        control = f'<input {attributes} {kind} value="{shown}"{required}>'
    optional = "" if column.required else ", may be missing"
    return f"<label>{name} <small>({column.type}{optional})</small>{control}</label>"
