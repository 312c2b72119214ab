"""Verbs for secrets: set, list, delete. A value is typed or piped, and never shown."""

from __future__ import annotations

import getpass
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from thinkube.cli.output import Json, Notebook, print_json, print_rich
from thinkube.model.errors import UsageError

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, as in tk.secret(NAME).")]


def set_secret(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Keep a secret on this machine. Its value is asked for, or read from standard input."""
    from thinkube.services.secrets import checked, store

    checked(name)
    where = store(name, _value(name, in_notebook=isinstance(context.obj, Notebook)))
    print_json({"stored": name, "where": where}) if as_json else typer.echo(
        f'{name} is stored in {where}. Read it with tk.secret("{name}").'
    )


def _value(name: str, *, in_notebook: bool) -> str:
    if in_notebook or sys.stdin.isatty():
        try:
            return getpass.getpass(f"Value of {name} (not shown): ").strip()
        except EOFError as error:
            raise UsageError(f"No value for {name} was typed.", "Run the command again.") from error
    return sys.stdin.read().rstrip("\r\n")


def list_secrets(as_json: Json = False) -> None:
    """List the stored secrets: names alone."""
    from rich.table import Table

    from thinkube.services.secrets import stored

    found = stored()
    if as_json:
        print_json([asdict(each) for each in found])
    elif not found:
        typer.echo("No secret is stored. Store one with: thinkube secret set TAVILY_API_KEY")
    else:
        table = Table("name", "value comes from", box=None, pad_edge=False)
        for each in found:
            table.add_row(each.name, each.source)
        print_rich(table)


def delete_secret(name: Name, as_json: Json = False) -> None:
    """Forget a stored secret."""
    from thinkube.services.secrets import delete

    delete(name)
    print_json({"deleted": name}) if as_json else typer.echo(f"{name} is deleted.")


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    group = typer.Typer(
        help="Secrets that code asks for by name.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("set", epilog="Example: thinkube secret set TAVILY_API_KEY")(set_secret)
    group.command("list", epilog="Example: thinkube secret list --json")(list_secrets)
    group.command("delete", epilog="Example: thinkube secret delete TAVILY_API_KEY")(delete_secret)
    app.add_typer(group, name="secret")
