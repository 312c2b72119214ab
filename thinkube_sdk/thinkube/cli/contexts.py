"""Verbs for contexts: list, use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinkube.cli.output import Json, print_json, print_rich

if TYPE_CHECKING:
    from thinkube.services.contexts import Context


def list_contexts(as_json: Json = False) -> None:
    """List the contexts: where services are looked for, and which holds now."""
    from rich.table import Table

    from thinkube.services.contexts import contexts

    found = contexts()
    if as_json:
        print_json([_facts(context) for context in found])
        return
    table = Table("", "context", "names", "chosen by", box=None, pad_edge=False)
    for context in found:
        marker = "→" if context.why else ""
        table.add_row(marker, context.name, ", ".join(context.services) or "-", context.why)
    print_rich(table)


def use_context(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The context's name.")], as_json: Json = False
) -> None:
    """Choose the context services are looked up in, from now on."""
    from thinkube.services.contexts import use

    now = use(name)
    if as_json:
        print_json(_facts(now))
    elif now.name == name:
        typer.echo(f"Services are looked up in the context {name} now ({now.path}).")
    else:
        typer.echo(f"{now.path} chooses {name}. Here {now.name} still holds: {now.why} wins over the file.")


def _facts(context: Context) -> dict[str, Any]:
    return {
        "name": context.name,
        "current": bool(context.why),
        "chosen_by": context.why,
        "services": {name: place.url for name, place in context.services.items()},
        "file": str(context.path),
    }


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    group = typer.Typer(help="Where services are looked for.", no_args_is_help=True, rich_markup_mode=None)
    group.command("list", epilog="Example: thinkube context list --json")(list_contexts)
    group.command("use", epilog="Example: thinkube context use team")(use_context)
    app.add_typer(group, name="context")
