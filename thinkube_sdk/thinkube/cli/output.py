"""How the command speaks: text for people, JSON for programs, progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from thinkube.model.errors import ThinkubeError


@dataclass(frozen=True)
class Notebook:
    """The notebook a command was typed in.

    Attributes:
        variables: its live variables.
        display: shows an object with its rich form.
    """

    variables: Mapping[str, Any]
    display: Callable[[object], None]


Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    typer.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def print_error(error: ThinkubeError, *, as_json: bool) -> None:
    """Print a refusal: its cause, then the way out."""
    if as_json:
        print_json({"error": {"type": type(error).__name__, "cause": error.cause, "fix": error.fix}})
        return
    typer.secho("Error: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
    typer.echo(error.cause, err=True)
    if error.fix:
        typer.secho("Fix:   ", fg=typer.colors.GREEN, bold=True, nl=False, err=True)
        typer.echo(error.fix, err=True)


def show(context: typer.Context, value: Any) -> None:
    """Show a result: its HTML in a notebook, in a terminal what rich makes of it."""
    if isinstance(context.obj, Notebook):
        context.obj.display(value)
    else:
        print_rich(value)


def print_rich(renderable: Any) -> None:
    """Print what rich can render: a table, or an object with `__rich__`."""
    from rich.console import Console

    Console(file=sys.stdout).print(renderable)


def progress(message: str) -> None:
    """Say on standard error what is being done, so that standard output stays the result's."""
    typer.secho(f"  {message}", fg=typer.colors.BRIGHT_BLACK, err=True)


def silent(_message: str) -> None:
    """The progress callback of a program that wants only the result."""
