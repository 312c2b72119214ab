"""Verbs for the services: up, down, status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thinkube.cli.output import Json, print_json, progress, show, silent

if TYPE_CHECKING:
    from thinkube.services.health import Status


def up(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Start just this service. May be given again.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return at once; the services get ready meanwhile.")
    ] = False,
    lab: Annotated[
        bool, typer.Option("--lab", help="Start JupyterLab too, with `%thinkube` in every notebook.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start the services on this machine: MLflow, LiteLLM with a model, NATS, Qdrant.

    A service whose variable is set (MLFLOW_TRACKING_URI, NATS_URL, …) runs elsewhere and is left out.
    """
    from thinkube.stack.up import up as start

    folder = Path.cwd() if lab else None
    started = start(only=only, progress=silent if as_json else progress, detach=detach, lab=folder)
    _show(context, as_json)
    if lab:
        from thinkube.stack.lab import address

        typer.echo(f"JupyterLab: {address(started.services['lab'])}", err=as_json)
    if detach and not as_json:
        typer.echo("The services are starting. Watch: thinkube status. Wait: thinkube up.")


def down(as_json: Json = False) -> None:
    """Stop the services and the deployed agents. Their data stays."""
    from thinkube.stack.down import down as stop

    stop(progress=silent if as_json else progress)
    if as_json:
        print_json({"stopped": True})


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show each service: where it is, how we know, whether it answers.

    Exits with 1 when a service that is known doesn't answer.
    """
    found = _show(context, as_json)
    if not found.healthy:
        raise typer.Exit(1)


def _show(context: typer.Context, as_json: bool) -> Status:
    """Show the services, and what of them runs on this machine."""
    from thinkube.services.health import status as read_status
    from thinkube.stack.summary import summary

    found, local = read_status(), summary()
    if as_json:
        print_json({**found.to_dict(), "stack": local.to_dict() if local else None})
        return found
    show(context, found)
    for sentence in local.sentences() if local else []:
        typer.echo(sentence)
    return found


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog="Example: thinkube up --only mlflow --only nats")(up)
    app.command(epilog="Example: thinkube down")(down)
    app.command(epilog="Example: thinkube status --json")(status)
