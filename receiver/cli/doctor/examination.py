"""All checks of one set-up: first the ones that others depend on, then the rest at once."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from ml.environment.file import Environment
from receiver.cli.doctor import github, machine, registry
from receiver.cli.doctor.check import Check, Question, answer
from receiver.cli.doctor.clock import clock
from receiver.cli.doctor.engine import engine
from receiver.core.errors import Rejected
from receiver.core.pins import read_pins
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.services import Services
from receiver.settings import Settings, misspelt, read_settings
from receiver.wiring import build, open_database

SECONDS = 20.0  # for each check; checks run at once share it


def examine() -> Iterator[Check]:
    """Run every check that is possible, each result as soon as it is there; without valid settings, these are few."""
    try:
        settings = read_settings()
    except Rejected as error:
        for line in str(error).splitlines()[1:]:
            found = line.strip()
            yield Check("settings", ok=False, found=found, todo="correct it in the environment or in .env")
        return
    redact = Redactor(settings.secrets)
    for check in _examine(settings):
        yield replace(check, found=redact.line(check.found), todo=redact.line(check.todo))


def _examine(settings: Settings) -> Iterator[Check]:
    first = [_settings(settings)]
    yield first[0]
    for questions in _machine_questions(settings):
        if all(check.ok for check in first[1:]):
            for check in answer(questions, SECONDS):
                first.append(check)
                yield check
    set_up = answer([*_set_up_questions(settings)], SECONDS)
    checkout = _Checkout(settings)
    if all(check.ok for check in first):
        yield from checkout.observe()
    pins = answer([*_pin_questions(settings, checkout)], SECONDS)
    yield from set_up
    yield from pins


def _machine_questions(settings: Settings) -> Iterator[Sequence[Question]]:
    """Each group needs what the one before it has found."""
    yield (
        Question("git", machine.git, "install git"),
        Question("state directory", partial(machine.state_directory, settings), "set PINRAIL_STATE_DIR"),
    )
    yield (Question("state file", partial(machine.state_file, settings), "see Upgrade in docs/operations.md"),)


class _Checkout:
    """The environments at the branch head, and the checks on reading them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.services: Services | None = None
        self.environments: Sequence[Environment] = ()

    def observe(self) -> Iterator[Check]:
        hint = "PINRAIL_REPO_URL and PINRAIL_BRANCH name it; a private one needs GITHUB_TOKEN or an ssh key"
        return answer([Question("repository", self._read, hint)], SECONDS)

    def _read(self) -> Check:
        self.services = build(self._settings, open_database(self._settings))
        snapshot = self.services.source.snapshot()
        if snapshot.stale:
            return Check("repository", ok=False, found=snapshot.stale, todo="see PINRAIL_REPO_URL and the network")
        try:
            self.environments = read_pins(snapshot.files, own_ports=self._settings.own_ports).environments
        except Rejected as error:
            return Check(
                "repository", ok=False, found=str(error), todo="correct the files; `pinrail check` shows the errors"
            )
        names = ", ".join(environment.name for environment in self.environments)
        return Check("repository", ok=True, found=f"{snapshot.commit[:12]} pins {names}")


def _settings(settings: Settings) -> Check:
    needed = ("pinrail_repo_url", "pinrail_webhook_secret")
    missing = [name.upper() for name in needed if getattr(settings, name) is None]
    if missing:
        found = f"{' and '.join(missing)} not set"
        return Check("settings", ok=False, found=found, todo="set it in the environment or in .env")
    if unknown := misspelt():
        return Check("settings", ok=False, found="; ".join(unknown), todo="correct or remove it")
    return Check("settings", ok=True, found="complete")


def _set_up_questions(settings: Settings) -> Iterator[Question]:
    uri = settings.mlflow_tracking_uri
    on_github = [settings.github_api_url] if settings.github_token else []
    urls = [*on_github, *([uri] if uri.startswith("http") else [])]
    yield Question("registry", partial(registry.reachable, uri), "MLFLOW_TRACKING_URI says where it is")
    if settings.signing_key is not None:
        yield Question("signing key", partial(machine.signing_key, settings.signing_key), "see PINRAIL_SIGNING_KEY")
    yield Question("evidence key", partial(machine.evidence_key, settings), "see PINRAIL_EVIDENCE_KEY")
    yield Question("isolation", partial(machine.isolation, settings), "see PINRAIL_TARGET")
    yield Question("engine", partial(engine, settings), "or set PINRAIL_TARGET=process")
    yield Question("GitHub token", partial(github.token, settings), "see GITHUB_TOKEN and GITHUB_API_URL")
    yield Question("webhook", partial(github.webhook, settings), "see the token's line")
    yield Question("deliveries", partial(github.deliveries, settings), "see the state file's line")
    yield Question("tunnel", partial(github.tunnel, settings), "the receiver's log says more")
    yield Question("receiver", partial(machine.receiver, settings), "see the state directory's line")
    yield Question("public port", partial(machine.listener_port, settings, "public"), "set PINRAIL_PUBLIC_PORT")
    yield Question("admin port", partial(machine.listener_port, settings, "admin"), "set PINRAIL_ADMIN_PORT")
    yield Question("address", partial(machine.address, settings), "see PINRAIL_HOST")
    yield Question("clock", partial(clock, urls), "enable NTP on this machine")


def _pin_questions(settings: Settings, checkout: _Checkout) -> Iterator[Question]:
    services = checkout.services
    if services is None or not checkout.environments:
        return
    pins = [(environment.name, pin) for environment in checkout.environments for pin in environment.models.values()]
    for name, pin in pins:
        slot = Slot(name, pin.model)
        yield Question(
            f"port {pin.port}",
            partial(machine.model_port, settings.pinrail_host, slot, pin.port, services.target),
            f"see environments/{name}.yaml",
        )
    uri = settings.mlflow_tracking_uri
    yield Question("stages", partial(registry.stages, uri, checkout.environments), "see the registry's line")
    for model, version in sorted({(pin.model, pin.version) for _, pin in pins}):
        yield Question(
            f"{model} v{version}",
            partial(registry.artifacts, services.registry, model, version),
            "register the version again, or pin another",
        )
