"""Verbs for what runs on this machine: service logs, service restart, gc, vectors push."""

from __future__ import annotations

from typing import Annotated

import typer

from thinkube.cli.output import Json, print_json, print_rich, progress, silent

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A service (`llm`) or its program (`gateway`, `models`, …).")
]


def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as new lines come.")] = False,
    as_json: Json = False,
) -> None:
    """Print what a service of this machine has logged, restarts included."""
    from thinkube.stack.service import logs as read

    for line in read(name, follow=follow):
        print_json({"line": line}) if as_json else typer.echo(line)


def restart(name: Name, as_json: Json = False) -> None:
    """End a service of this machine and start it again at the same URL."""
    from thinkube.stack.service import restart as again

    now = again(name, progress=silent if as_json else progress)
    if as_json:
        print_json({"service": now.name, "url": now.url, "stage": now.stage, "pid": now.pid})


def gc(
    days: Annotated[float, typer.Option("--days", help="How long something has to be idle.")] = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Remove bundles without a release and environments nobody used for a while.

    What a deployment or the stack needs stays. Files are shared with uv's cache, so the disk may gain less.
    """
    from rich.filesize import decimal
    from rich.table import Table

    from thinkube.stack.space import remove, unused

    found = unused(days)
    total = sum(each.size for each in found) if dry_run else remove(found)
    if as_json:
        entries = [
            {"path": str(each.path), "what": each.what, "size": each.size, "idle_days": round(each.idle, 2)}
            for each in found
        ]
        print_json({"removed": not dry_run, "bytes": total, "entries": entries})
        return
    if found:
        table = Table("what", "size", "idle", "path", box=None, pad_edge=False)
        for each in found:
            table.add_row(each.what, decimal(each.size), f"{each.idle:.0f} days", str(each.path))
        print_rich(table)
    typer.echo(f"{'Would free' if dry_run else 'Freed'} {decimal(total)} ({len(found)} found).")


def push(
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="The collection's name.")],
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The other Qdrant.")],
    secret: Annotated[
        str | None, typer.Option("--secret", metavar="NAME", help="The secret that holds its API key.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete the one of that name there.")] = False,
    as_json: Json = False,
) -> None:
    """Copy a collection of this machine to another Qdrant, such as a cluster's."""
    from thinkube.services.secrets import secret as read
    from thinkube.stack.push import push as copy

    key = read(secret) if secret else None
    points = copy(collection, to, key=key, replace=replace, progress=silent if as_json else progress)
    if as_json:
        print_json({"collection": collection, "to": to, "points": points})
    else:
        typer.echo(f"{collection} with {points} points is at {to}")


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    service = typer.Typer(
        help="Look after one service of this machine.", no_args_is_help=True, rich_markup_mode=None
    )
    service.command("logs", epilog="Example: thinkube service logs mlflow --follow")(logs)
    service.command("restart", epilog="Example: thinkube service restart mlflow")(restart)
    app.add_typer(service, name="service")
    vectors = typer.Typer(
        help="Look after the vectors of this machine.", no_args_is_help=True, rich_markup_mode=None
    )
    vectors.command(
        "push", epilog="Example: thinkube vectors push docs --to http://qdrant:6333 --secret QDRANT_KEY"
    )(push)
    app.add_typer(vectors, name="vectors")
    app.command(epilog="Example: thinkube gc --dry-run")(gc)
