"""Verbs for the services: up, down, status."""

from __future__ import annotations

from typing import Annotated

import typer

from thinkube.cli.output import Json, print_json, progress, show, silent


def up(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Start just this service. May be given again.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start the services on this machine: MLflow, LiteLLM with a model, NATS, Qdrant."""
    from thinkube.services.health import status as read_status
    from thinkube.stack.up import up as start

    start(only=only, progress=silent if as_json else progress)
    status = read_status()
    print_json(status.to_dict()) if as_json else show(context, status)


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
    from thinkube.services.health import status as read_status

    found = read_status()
    print_json(found.to_dict()) if as_json else show(context, found)
    if not found.healthy:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog="Example: thinkube up --only mlflow --only nats")(up)
    app.command(epilog="Example: thinkube down")(down)
    app.command(epilog="Example: thinkube status --json")(status)
