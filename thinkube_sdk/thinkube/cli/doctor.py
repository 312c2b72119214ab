"""The verb that finds the usual troubles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from thinkube.cli.output import Json, print_json

if TYPE_CHECKING:
    from thinkube.services.machine import Finding, Verdict

_MARKS: dict[Verdict, tuple[str, str]] = {
    "ok": ("✓", typer.colors.GREEN),
    "note": ("•", typer.colors.YELLOW),
    "problem": ("✗", typer.colors.RED),
}


def doctor(as_json: Json = False) -> None:
    """Find the usual troubles of a machine and its services, each with its fix.

    Exits with 1 when something is wrong.
    """
    from thinkube.services.doctor import doctor as examine

    found = examine()
    if as_json:
        print_json(found.to_dict())
    else:
        for finding in found.findings:
            _print(finding)
    if not found.healthy:
        raise typer.Exit(1)


def _print(finding: Finding) -> None:
    mark, color = _MARKS[finding.verdict]
    typer.secho(f"{mark} {finding.check}: ", fg=color, bold=True, nl=False)
    typer.echo(finding.cause)
    if finding.fix:
        typer.echo(f"  Fix: {finding.fix}" if finding.verdict == "problem" else f"  {finding.fix}")


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: thinkube doctor --json")(doctor)
