"""``/``: a page for people that says what is served here, and lets them ask it. No script or style from elsewhere."""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from serving.model.model_dir import Column

_STYLE = """
:root{color-scheme:light dark;--ink:#1b2733;--dim:#5b6773;--line:#d5dbe2;--soft:#f2f5f8;--link:#1d5f93;--bad:#a3312a;
--production:#8a1c5a;--on:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#dfe6ee;--dim:#98a5b3;--line:#38434f;--soft:#202831;--link:#8ac0ea;
--bad:#f0938b;--production:#f0a3cf;--on:#14191f}body{background:#14191f}}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;max-width:54rem;margin:2rem auto;padding:0 1rem;
color:var(--ink)}
html{border-top:.5rem dashed var(--dim)}html.production{border-top:.5rem solid var(--production)}
.place{display:inline-block;border:2px dashed var(--dim);border-radius:.4rem;padding:.1rem .8rem;margin:0 0 .6rem;
font-weight:600;overflow-wrap:anywhere}
.production .place{border:2px solid var(--production);background:var(--production);color:var(--on)}
h1{font-size:1.5rem;margin:0 0 .8rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2rem 0 .6rem}
a{color:var(--link)}.dim,small,dt,th{color:var(--dim)}small.new{color:var(--bad)}small{font-weight:400}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));gap:.6rem;margin:0}
dl div{background:var(--soft);border-radius:.4rem;padding:.4rem .7rem}dt{font-size:.85rem;overflow-wrap:anywhere}
dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:400;padding:0 1.5rem 0 0;vertical-align:top;white-space:nowrap}
td{padding:0;overflow-wrap:anywhere}
form{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(15rem,100%),1fr));gap:.8rem;align-items:end}
label{display:block;font-size:.9rem;overflow-wrap:anywhere}input,select{font:inherit;width:100%;padding:.3rem .4rem}
button{font:inherit;padding:.4rem 1.2rem;grid-column:1/-1;justify-self:start}
pre{background:var(--soft);border-radius:.4rem;padding:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}
pre:empty{padding:0}pre.bad{border-left:4px solid var(--bad)}
"""

# Reads the form into a record of the signature's types, as JSON; an empty field of an optional column is null.
# A whole number stays as it was typed: as a number of JavaScript, a long one would lose its last digits. The form
# itself is not asked for anything: a column called "elements" would answer in its place.
_SCRIPT = r"""
const [answer,curl]=["#answer","#curl"].map(s=>document.querySelector(s));
const target=new URL("predict",location.href).href;
function value({value:v,dataset:d}){if(v===""&&(d.optional||d.kind!=="text"))return "null";
if(d.kind==="number")return /^-?\d+$/.test(v)?String(BigInt(v)):JSON.stringify(Number(v));
return d.kind==="boolean"?v:JSON.stringify(v)}
function record(){return "{"+[...document.querySelectorAll("form [name]")].map(field=>
JSON.stringify(field.name)+": "+value(field)).join(", ")+"}"}
function quoted(text){return "'"+text.replaceAll("'","'\\''")+"'"}
function unseen(field){return !(field.value===""&&field.dataset.optional)&&
![...field.list.options].some(option=>option.value===field.value)}
function show(){
document.querySelectorAll("input[list]").forEach(field=>{
field.closest("label").querySelector(".new").hidden=!unseen(field)});
curl.textContent=`curl -H 'Content-Type: application/json' ${quoted(target)} \\\n  -d ${quoted(record())}`}
function say(text,well){answer.textContent=text;answer.className=well?"":"bad"}
document.addEventListener("input",show);document.addEventListener("submit",async event=>{event.preventDefault();
say("asking ...",true);try{const r=await fetch(target,{method:"POST",headers:{"Content-Type":"application/json"},
body:record()});say((r.ok?"":`status ${r.status}\n`)+await r.text(),r.ok)}
catch(error){say("no answer: "+error.message,false)}});show();
"""


MOST_NAMED = 12  # of a column's known values, beside its field


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# What the browser may do with this page: its own style and script, and requests to this server.
POLICY = (
    f"default-src 'none'; style-src '{_digest(_STYLE)}'; script-src '{_digest(_SCRIPT)}'; connect-src 'self'; "
    "img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def page(
    health: Mapping[str, Any],
    columns: Sequence[Column],
    example: Mapping[str, Any],
    metrics: Mapping[str, float],
    known: Mapping[str, Sequence[str]] | None = None,
    *,
    dashboard: str = "",
) -> str:
    """The page, with a form field per column that is filled in from the model's example.

    ``metrics``: what the version's run measured; none where that is not known. ``known``: by column, the texts of the
    training data; others can be sent, for models answer to them too, and the page says so.
    ``dashboard``: the address of the model's page there; empty: none.
    """
    title = html.escape(f"{health['model']} version {health['version']}")
    facts = "".join(
        f"<tr><th scope=row>{html.escape(name.replace('_', ' '))}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in health.items()
        if value is not None
    )
    fields = "".join(
        _field(column, example.get(column.name), (known or {}).get(column.name, ())) for column in columns
    )
    place = html.escape(health.get("environment", ""))
    is_production = "Production" in {health.get("stage"), place.title()}
    badge = f"<p class=place>{place}</p>" if place else ""
    back = f'<p><a href="{html.escape(dashboard, quote=True)}">In the dashboard</a>' if dashboard else ""
    text = (
        f'<!doctype html><html lang="en"{" class=production" if is_production else ""}><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{title}{f' in {place}' if place else ''}</title><style>{_STYLE}</style><main>"
        f"{badge}<h1>{title}</h1><table>{facts}</table>{back}"
        f"<h2>Metrics of its run</h2>{_measured(metrics)}"
        f"<h2>Ask it</h2><noscript><p>The form needs JavaScript; <code>POST /predict</code> does not.</noscript>"
        f"<form>{fields}<button>Predict</button></form><pre id=answer aria-live=polite></pre>"
        f"<h2>The same from a shell</h2><pre id=curl></pre>"
        f'<p>For programs: <a href="openapi.json">OpenAPI</a>, <code>POST /predict</code>, '
        f"<code>POST /invocations</code> (MLflow), <code>/v2</code> (Open Inference Protocol).</main>"
        f"<script>{_SCRIPT}</script></html>"
    )
    return text.encode("utf-8", "replace").decode()  # an example may hold half a character, which no page can


def _measured(metrics: Mapping[str, float]) -> str:
    if not metrics:
        return "<p class=dim>Nothing is known: the version has no run, or its run logged no metrics.</p>"
    tiles = (
        f'<div><dt>{html.escape(name)}</dt><dd title="{value}">{_rounded(value)}</dd></div>'
        for name, value in sorted(metrics.items())
    )
    return f"<dl>{''.join(tiles)}</dl>"


def _rounded(value: float) -> str:
    return f"{float(f'{value:.4g}'):,.12g}"  # four digits, without an exponent where that is readable


def _field(column: Column, value: Any, known: Sequence[str]) -> str:
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
        kind = f"type=number step={step} data-kind=number" if is_number else "type=text data-kind=text"
        shown = "" if value is None else html.escape(str(value), quote=True)
        required = " required" if column.required and is_number else ""
        control = f'<input {attributes} {kind} value="{shown}"{required}>'
        if known and not is_number:
            identity = "known-" + quote(column.name, errors="replace")  # an identity has no spaces
            control = f'{control[:-1]} list="{identity}">{_choices(identity, known)}'
    optional = "" if column.required else ", may be missing"
    return f"<label>{name} <small>({column.type}{optional})</small>{control}</label>"


def _choices(identity: str, known: Sequence[str]) -> str:
    options = "".join(f'<option value="{html.escape(value, quote=True)}">' for value in known)
    named = ", ".join(map(html.escape, known[:MOST_NAMED])) + (" ..." if len(known) > MOST_NAMED else "")
    return (
        f'<datalist id="{identity}">{options}</datalist>'
        f"<small class=new role=status hidden>not in the training data, which holds: {named}</small>"
    )
