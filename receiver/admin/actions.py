"""What can be done from the pages: the command line's use cases, for who has the admin token.

Each form asks for the token, and there is neither a session nor a cookie: a browser sends cookies to every port of
this machine, also to model servers; and what another site makes a browser post does not have the token.
"""

import asyncio
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from pydantic import SecretStr

from receiver.adapters.time_limit import time_limit
from receiver.admin.page import render_action, render_missing
from receiver.admin.queries import AdminQueries
from receiver.core.errors import PinrailError
from receiver.core.redact import Redactor, plain
from receiver.core.state import Slot
from receiver.operations import ChangeOperations, Operations, place_name, target_of_rollback
from receiver.pull_requests.promotion import PinChange
from receiver.services import Services

SECONDS = 60.0  # for all that a promotion asks of git, registry and GitHub
LARGEST_BODY = 16 << 10  # bytes
WRONG_TOKEN_SECONDS = 1.0  # what a guess costs


class Builder(Protocol):
    """Makes the use cases for one person."""

    def __call__(self, who: str) -> tuple[Operations, ChangeOperations]:
        """``who``: their name, as they gave it."""
        ...


@dataclass(frozen=True, slots=True)
class Actions:
    """What the routes need."""

    token: SecretStr
    services: Services
    build: Builder
    redact: Redactor


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What was done, what to know about it, and where to go on."""

    done: str
    notes: tuple[str, ...] = ()
    link: str | None = None


@dataclass(frozen=True, slots=True)
class ActionForm:
    """One action: its name, what it asks for besides name and token, what it says that it does, how it is done."""

    title: str
    fields: tuple[str, ...]
    explain: Callable[[Services, Slot], tuple[bool, str]]  # whether it can be done, and the explanation
    perform: Callable[[tuple[Operations, ChangeOperations], Slot, Mapping[str, str]], ActionResult]


class FormRefused(Exception):  # noqa: N818 - it names what happened to the form
    """A form that is answered with this status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


def add_actions(app: FastAPI, queries: AdminQueries, actions: Actions) -> None:
    """Add a page for each action that asks, and takes the answer."""

    @app.get("/models/{environment}/{model}/{name}", response_class=HTMLResponse)
    def ask(environment: str, model: str, name: str) -> HTMLResponse:
        slot, form = Slot(environment, model), FORMS.get(name)
        if form is None or not _is_known(queries, slot):
            return HTMLResponse(render_missing(queries, f"{name} of {slot}"), 404)
        return _answer(queries, actions, (slot, form))

    @app.post("/models/{environment}/{model}/{name}", response_class=HTMLResponse)
    async def do(request: Request, environment: str, model: str, name: str) -> HTMLResponse:
        slot, form = Slot(environment, model), FORMS.get(name)
        if form is None or not await run_in_threadpool(_is_known, queries, slot):
            return HTMLResponse(render_missing(queries, f"{name} of {slot}"), 404)
        try:
            given = await _authorised(request, actions.token)
            result = await run_in_threadpool(_perform, actions, form, slot, given)
        except FormRefused as refused:
            return _answer(queries, actions, (slot, form), str(refused), refused.status)
        except PinrailError as error:
            return _answer(queries, actions, (slot, form), actions.redact.lines(str(error)), 409)
        said = actions.redact.within(result)
        return render_action(
            queries, 200, title=form.title, slot=slot, problem="", done=said.done, notes=said.notes, link=said.link
        )


def _answer(
    queries: AdminQueries, actions: Actions, what: tuple[Slot, ActionForm], problem: str = "", status: int = 200
) -> HTMLResponse:
    slot, form = what
    possible, explanation = form.explain(actions.services, slot)
    values = {"explanation": actions.redact.lines(explanation), "fields": form.fields, "possible": possible}
    return render_action(queries, status, title=form.title, slot=slot, problem=problem, done="", **values)


def _is_known(queries: AdminQueries, slot: Slot) -> bool:
    return any(
        (row.environment, row.model) == (slot.environment, slot.model) for row in queries.environments().status
    )


def _perform(actions: Actions, form: ActionForm, slot: Slot, given: Mapping[str, str]) -> ActionResult:
    with time_limit(SECONDS):
        return form.perform(actions.build(f"{given['who']} (page)"), slot, given)


async def _authorised(request: Request, token: SecretStr) -> Mapping[str, str]:
    """The form's fields, where it comes from a page of ours and holds the token."""
    if not _is_ours(request):
        raise FormRefused(403, "the form was not sent by a page of this dashboard: open it here, and try again")
    if int(request.headers.get("content-length") or LARGEST_BODY + 1) > LARGEST_BODY:
        raise FormRefused(413, f"the form is larger than {LARGEST_BODY} bytes, or does not say how large it is")
    fields = parse_qs((await request.body()).decode(errors="replace"))
    given = {name: values[0] for name, values in fields.items()}
    if not hmac.compare_digest(given.get("token", "").encode(), token.get_secret_value().encode()):
        await asyncio.sleep(WRONG_TOKEN_SECONDS)
        raise FormRefused(401, "the token is not that of PINRAIL_ADMIN_TOKEN: correct it")
    who = plain(given.get("who", ""))[:100]
    if not who:
        raise FormRefused(400, "found no name, allowed 1 to 100 characters: say who you are")
    return {**given, "who": who}


def _is_ours(request: Request) -> bool:
    """A browser says where a form comes from; whatever else has the token, such as curl, says nothing."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _version(given: Mapping[str, str]) -> int:
    text = given.get("version", "")
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text) > 0):  # noqa: PLR2004 - digits
        raise FormRefused(400, f"version: found {text[:20]!r}, allowed a number from 1: correct it")
    return int(text)


def _reason(given: Mapping[str, str]) -> str:
    reason = plain(given.get("reason", ""))[:500]
    if not reason:
        raise FormRefused(400, "found no reason: say why, for everybody who wonders")
    return reason


def _promote(use: tuple[Operations, ChangeOperations], slot: Slot, given: Mapping[str, str]) -> ActionResult:
    proposed = use[1].promote(PinChange(slot.model, _version(given), slot.environment))
    link = proposed.pull.url if proposed.pull else proposed.promotion.compare
    web = link if link and link.startswith(("https://", "http://")) else None
    done = f"{proposed.promotion.title}: the branch {proposed.promotion.branch} is pushed"
    return ActionResult(
        f"{done}, and its pull request is open" if proposed.pull else done, tuple(proposed.notes), web
    )


def _explain_rollback(services: Services, slot: Slot) -> tuple[bool, str]:
    found = target_of_rollback(services, slot)
    if isinstance(found, str):
        return False, f"There is nothing to roll back to: {found}"
    pinned, target = found
    return True, (
        f"The receiver restores v{target} at once and holds v{pinned} in quarantine, until the pin is changed or "
        "retried. It then opens a pull request that pins the restored version."
    )


def _explain_resume(services: Services, environment: str, model: str | None) -> tuple[bool, str]:
    held = next((f for f in services.journal.frozen() if (f.environment, f.model) == (environment, model)), None)
    place = place_name(environment, model)
    if held is None:
        return False, f"{place} is not held, so there is nothing to resume."
    whole = ", the whole environment" if model is None else ""
    return True, f"Ends the hold of {place}{whole}: new versions are deployed again. It is held for: {held.reason}"


def _said(possible: bool, text: str) -> Callable[[Services, Slot], tuple[bool, str]]:
    return lambda _services, slot: (possible, text.format(slot=slot))


FORMS: Mapping[str, ActionForm] = {
    "promote": ActionForm(
        "Promote",
        ("version",),
        _said(
            True,
            "Checks gate, evidence and policy as the receiver would, and opens a pull request that pins the version "
            "for {slot}. Nothing is deployed before it is merged.",
        ),
        _promote,
    ),
    "rollback": ActionForm(
        "Roll back now",
        ("reason",),
        _explain_rollback,
        lambda use, slot, given: ActionResult(use[1].roll_back_now(slot, None, _reason(given))),
    ),
    "hold": ActionForm(
        "Hold",
        ("reason",),
        _said(True, "Lets nothing new be deployed for {slot}, until it is resumed. Healing and rollback go on."),
        lambda use, slot, given: ActionResult(use[0].hold(slot.environment, slot.model, _reason(given))),
    ),
    "resume": ActionForm(
        "Resume",
        (),
        lambda services, slot: _explain_resume(services, slot.environment, slot.model),
        lambda use, slot, _: ActionResult(use[0].resume(slot.environment, slot.model)),
    ),
    "resume-environment": ActionForm(
        "Resume the environment",
        (),
        lambda services, slot: _explain_resume(services, slot.environment, None),
        lambda use, slot, _: ActionResult(use[0].resume(slot.environment, None)),
    ),
    "retry": ActionForm(
        "Retry",
        (),
        _said(True, "Lifts the quarantine of {slot}, so that the pinned version is tried again."),
        lambda use, slot, _: ActionResult(use[0].retry(slot.environment, slot.model)),
    ),
    "fetch": ActionForm(
        "Fetch the branch",
        (),
        _said(True, "Has the receiver fetch the branch head now, instead of at the next push or poll."),
        lambda use, _slot, _given: ActionResult(use[0].fetch()),
    ),
}
