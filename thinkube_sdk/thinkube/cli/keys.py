"""Verbs for a deployment's keys: create, list, revoke."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from thinkube.cli.agents import Name, On
from thinkube.cli.output import Json, print_json, print_rich
from thinkube.model.errors import UsageError

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}

Scope = Annotated[
    list[str] | None, typer.Option("--scope", help="invoke (if none is given) or metrics; several times.")
]


def create(
    name: Name,
    who: Annotated[str, typer.Option("--for", help="Whose it is, in words; it stands in lists.")] = "unnamed",
    scope: Scope = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="As 90d, 12h or 30m; never if not given.")
    ] = None,
    on: On = None,
    as_json: Json = False,
) -> None:
    """Make a key for someone who is to call a deployment. It is shown once and kept nowhere."""
    from thinkube.targets.deploy import deployment

    seconds = None if expires is None else _seconds(expires)
    text = deployment(name, on).keys.create(who, tuple(scope or ["invoke"]), seconds)
    print_json({"key": text}) if as_json else typer.echo(text)


def list_keys(name: Name, on: On = None, as_json: Json = False) -> None:
    """List a deployment's keys; never their texts."""
    from rich.table import Table

    from thinkube.targets.deploy import deployment

    found = deployment(name, on).keys.list()
    if as_json:
        print_json([key.described() for key in found])
        return
    table = Table("id", "for", "scopes", "made", "expires", box=None, pad_edge=False)
    for key in found:
        expires = "never" if key.expires is None else _moment(key.expires)
        expires += " (over)" if key.expired(time.time()) else ""
        table.add_row(key.id, key.name, ", ".join(key.scopes), _moment(key.created), expires)
    print_rich(table)


def revoke(
    name: Name,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, or whose it is.")],
    on: On = None,
    as_json: Json = False,
) -> None:
    """Make a key invalid, from the next request on."""
    from thinkube.targets.deploy import deployment

    revoked = deployment(name, on).keys.revoke(key)
    print_json(revoked.described()) if as_json else typer.echo(
        f"The key {revoked.id} ({revoked.name}) of {name} is no longer valid."
    )


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if match is None:
        raise UsageError(f"--expires {text} is no time.", "Say minutes, hours or days: 30m, 12h, 90d.")
    return int(match[1]) * _UNITS[match[2]]


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    group = typer.Typer(
        help="Keys that deployments are called with.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("create", epilog="Example: thinkube keys create docs-agent --for ci --expires 90d")(create)
    group.command("list", epilog="Example: thinkube keys list docs-agent")(list_keys)
    group.command("revoke", epilog="Example: thinkube keys revoke docs-agent ci")(revoke)
    app.add_typer(group, name="keys")
