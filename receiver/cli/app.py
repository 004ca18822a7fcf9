"""The command line: one small function per command.

What a command does is imported inside it: ``pinrail --help`` must answer at once.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    help="GitOps for machine-learning models: a merged pin is served, proven, or rolled back.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: loading rich would double the time that --help takes
    pretty_exceptions_enable=False,  # __main__ is the boundary
    # `pinrail --install-completion` sets it up for the shell that it runs in.
    add_completion=True,
)

# What typer raises for a wrong command line; it exports only this kind of it.
UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _environments(incomplete: str) -> list[str]:
    from receiver.cli.completion import environments

    return environments(incomplete)


def _models(incomplete: str) -> list[str]:
    from receiver.cli.completion import models

    return models(incomplete)


Environment = Annotated[
    str,
    typer.Argument(metavar="ENVIRONMENT", help="An environment, e.g. production.", autocompletion=_environments),
]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A registered model, e.g. churn-model.", autocompletion=_models)
]
OptionalModel = Annotated[
    str | None, typer.Argument(metavar="MODEL", help="A registered model, e.g. churn-model.", autocompletion=_models)
]
OnlyEnvironment = Annotated[
    str | None,
    typer.Argument(metavar="ENVIRONMENT", help="Only this environment.", autocompletion=_environments),
]
OnlyModel = Annotated[str | None, typer.Argument(metavar="MODEL", help="Only this model.", autocompletion=_models)]


@app.command()
def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="Stop everything at the end instead of staying up.")] = False,
) -> None:
    """Run the whole flow on this machine, from training to a rollback."""
    from receiver.cli.demo.story import run

    run(once=once)


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Where to; made if it is not there.")],
) -> None:
    """Write a repository of pins for your own models, with workflows."""
    from receiver.cli.starter.write import write_repository

    typer.echo(write_repository(directory))


@app.command()
def adopt(
    environment: Environment,
    model: Model,
    *,
    version: Annotated[int | None, typer.Option(min=1, help="Default: that of the alias, or the newest.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the next one that no pin has.")] = None,
    kind: Annotated[
        Literal["classification", "regression", "none"] | None,
        typer.Option(help="What the gate is to suit; default: read from the model."),
    ] = None,
) -> None:
    """Pin a registered model in this work tree.

    With a gate that suits its kind, and a file for evaluation rows. Changes nothing but these two files.
    """
    from receiver.cli.adopt.adopt import Adoption, adopt_model
    from receiver.settings import load_settings

    typer.echo(adopt_model(load_settings(), Adoption(environment, model, version, port, kind)))


@app.command()
def up(
    *,
    tunnel: Annotated[
        Literal["ngrok", "none"] | None,
        typer.Option(help="How GitHub reaches the receiver; default: ngrok where NGROK_AUTHTOKEN is set."),
    ] = None,
    with_mlflow: Annotated[
        bool, typer.Option("--with-mlflow", help="Start a local MLflow too, for a first try; it keeps its data.")
    ] = False,
) -> None:
    """Start the receiver: webhooks, deployments, dashboard."""
    from receiver.cli.commands.up import start

    start(tunnel, with_mlflow=with_mlflow)


@app.command()
def build(
    *,
    push: Annotated[str | None, typer.Option(help="Push to REGISTRY/NAME and print the name by digest.")] = None,
) -> None:
    """Build the model servers' image, unless it exists.

    Prints its name, a digest of this source tree's packages and code.
    """
    from receiver.adapters.docker import Docker
    from receiver.cli.progress import progress
    from receiver.settings import read_settings
    from receiver.targets.compose.build import build_image, push_image

    docker = Docker()
    with progress("building the image: minutes, the first time ..."):
        image = build_image(docker, read_settings().pinrail_base_image)
    if push is not None:
        with progress(f"pushing it to {push} ..."):
            image = push_image(docker, image, push)
    typer.echo(image)


@app.command()
def down() -> None:
    """Stop every model server. Records stay: the next ``up`` starts the same versions."""
    from receiver.cli.commands.down import stop_servers
    from receiver.cli.progress import progress
    from receiver.settings import load_settings

    with progress("stopping the model servers, each after its last answer ..."):
        stopped = stop_servers(load_settings())
    typer.echo(stopped)


@app.command()
def plan(*, json: Json = False) -> None:
    """Show what the receiver would do for the pins, and why not more.

    Reads the branch head, the registry and the servers; changes nothing.
    """
    from receiver.cli.commands.plan import show_plan

    show_plan(as_json=json)


@app.command()
def status(
    *,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 unless everything is in sync.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C: drawn anew on a terminal, else what changes.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare pin, registry and server of every model."""
    from receiver.cli.commands.status import show_status

    if watch:
        from receiver.cli.commands.status_watch import watch_status

        watch_status(as_json=json)
    elif not show_status(as_json=json) and exit_code:
        raise typer.Exit(1)


@app.command()
def diff(
    environment: Environment,
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="ENVIRONMENT", help="Another one; default: what serves.", autocompletion=_environments
        ),
    ] = None,
    *,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 if anything differs.")] = False,
    json: Json = False,
) -> None:
    """Compare two environments, or one's pins with what serves.

    Shows only what differs.
    """
    from receiver.cli.commands.diff import show_diff

    if show_diff(environment, other, as_json=json) and exit_code:
        raise typer.Exit(1)


@app.command()
def watch(
    environment: Environment,
    model: Model,
    *,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds until it gives up, and ends with 1.")] = 600.0,
) -> None:
    """Follow the deployment of a slot that runs or comes next.

    Ends with 0 if it went live, with 1 if not, or not in time.
    """
    from receiver.cli.commands.watch import watch as follow_deployment
    from receiver.core.state import Slot

    if not follow_deployment(Slot(environment, model), timeout):
        raise typer.Exit(1)


@app.command()
def history(
    environment: OnlyEnvironment = None,
    model: OnlyModel = None,
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    json: Json = False,
) -> None:
    """List deployments: what, why, and how each ended."""
    from receiver.cli.commands.history import show_history

    show_history(environment, model, limit=limit, as_json=json)


@app.command()
def live(
    *,
    at: Annotated[datetime | None, typer.Option(help="A time, e.g. 2026-11-23T14:00; local unless it says.")] = None,
    json: Json = False,
) -> None:
    """Show which versions were verified live at a time, or now."""
    from receiver.cli.commands.live import show_live

    show_live(at, as_json=json)


@app.command()
def requests(
    environment: Environment,
    model: Model,
    *,
    since: Annotated[str | None, typer.Option(help="How long ago, e.g. 2h or 7d, or a time.")] = None,
    caller: Annotated[str | None, typer.Option(help="Only this caller's.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Only what this version answered.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write all to this file, .parquet or .csv.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many to print, newest first.")] = 20,
    json: Json = False,
) -> None:
    """List what a model was asked, and what it answered.

    From the inference log, which ``log:`` in the environment file switches on.
    """
    from receiver.cli.commands.requests import RequestsQuery, show_requests
    from receiver.core.state import Slot

    query = RequestsQuery(Slot(environment, model), since, caller, version, limit)
    show_requests(query, out, as_json=json)


@app.command()
def labels(
    model: Model,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A .csv or .parquet file; without one, nothing is added.")
    ] = None,
    *,
    id_: Annotated[str | None, typer.Option("--id", help="The column of request ids; default: request_id.")] = None,
    row: Annotated[
        str | None, typer.Option(help="The column of rows within requests; default: row, if it is there, else 0.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The column of what was true; default: label.")] = None,
    json: Json = False,
) -> None:
    """Take in what turned out to be true, and show realised metrics.

    Labels belong to answers in the inference log by X-Request-ID.
    """
    from receiver.adapters.inference_log.label_file import LabelColumns
    from receiver.cli.commands.labels import labels as take_labels

    take_labels(model, file, LabelColumns(id_, row, label), as_json=json)


@app.command()
def logs(
    environment: Environment,
    model: Model,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines of before.")] = 100,
) -> None:
    """Show what a slot's model server writes.

    With --follow also what the next version writes, once that has the traffic.
    """
    from receiver.cli.commands.logs import show_logs
    from receiver.core.state import Slot

    show_logs(Slot(environment, model), lines=lines, follow=follow)


@app.command(name="open")
def open_(environment: OnlyEnvironment = None, model: OnlyModel = None) -> None:
    """Open the dashboard, or a model's page, in a browser."""
    from receiver.cli.commands.open import open_page

    typer.echo(open_page(environment, model))


@app.command()
def promote(
    environment: Environment,
    model: OptionalModel = None,
    *,
    version: Annotated[int, typer.Option(min=1, help="The registered version to pin.")],
    to: Annotated[
        str | None, typer.Option(hidden=True, help="The old order: promote MODEL --to ENVIRONMENT.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is merged, and live or not.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait, then it ends with 1.")] = 3600.0,
    json: Json = False,
) -> None:
    """Open a pull request that pins a version, if it may go there.

    Checks what the receiver would check: gate, evidence, signature. Without GITHUB_TOKEN it pushes the branch and
    prints the link. With --wait it ends with 0 if the version went live, with 1 if not, or not in time.
    """
    from receiver.cli.commands.promote import show_promotion
    from receiver.pull_requests.promotion import PinChange

    if to is not None and model is None:
        environment, model = to, environment
        typer.echo(f"note: `pinrail promote {environment} {model} --version {version}` is the order now", err=True)
    elif model is None or to is not None:
        raise typer.BadParameter("name the environment and the model: pinrail promote ENVIRONMENT MODEL --version N")
    if not show_promotion(PinChange(model, version, environment), timeout if wait else None, as_json=json):
        raise typer.Exit(1)


@app.command()
def rollback(
    environment: Environment,
    model: Model,
    *,
    to: Annotated[int | None, typer.Option(min=1, help="The version; default: the one verified before.")] = None,
    now: Annotated[bool, typer.Option("--now", help="Roll back at once, and hold the pinned version.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the reviewers.")] = "rolled back by hand",
    json: Json = False,
) -> None:
    """Open a pull request that pins an earlier version."""
    from receiver.cli.commands.rollback import RollbackRequest, roll_back
    from receiver.core.state import Slot

    roll_back(RollbackRequest(Slot(environment, model), to, now, reason), as_json=json)


@app.command()
def check(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="The folder that holds environments/.")
    ] = Path(),
) -> None:
    """Validate the pins of a work tree."""
    from receiver.cli.commands.check import check_pins

    typer.echo(check_pins(directory))


@app.command()
def doctor(*, json: Json = False) -> None:
    """Check the set-up, and say what to do about what is missing."""
    from receiver.cli.doctor.examination import examine
    from receiver.cli.doctor.report import report

    raise typer.Exit(report(examine(), as_json=json))


@app.command()
def hold(
    environment: Environment,
    model: OnlyModel = None,
    *,
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for everybody who wonders.")],
) -> None:
    """Let nothing new be deployed; healing and rollback go on."""
    from receiver.cli.commands import hold as commands

    typer.echo(commands.hold(environment, model, message))


@app.command()
def resume(environment: Environment, model: OnlyModel = None) -> None:
    """End a hold."""
    from receiver.cli.commands import hold as commands

    typer.echo(commands.resume(environment, model))


@app.command()
def retry(
    environment: OnlyEnvironment = None,
    model: OnlyModel = None,
) -> None:
    """Lift the quarantine of what failed, and try them again."""
    from receiver.cli.commands.retry import lift_quarantine

    typer.echo(lift_quarantine(environment, model))


@app.command()
def key(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A private key in PEM; default: the receiver's own.")
    ] = None,
) -> None:
    """Print the public key of who signs evidence here."""
    from receiver.cli.commands.key import public_key

    typer.echo(public_key(file))


@app.command()
def version(*, json: Json = False) -> None:
    """Show the versions of Pinrail, Python and MLflow."""
    from receiver.cli.commands.version import show_version

    show_version(as_json=json)
