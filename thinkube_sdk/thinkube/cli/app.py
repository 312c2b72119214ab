"""The command's frame: verbs in groups, one place where errors become text and exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from thinkube.cli import agents, contexts, doctor, jobs, keys, secrets, services, stack
from thinkube.cli.output import Notebook, print_error
from thinkube.model.errors import ConfigurationError, ThinkubeError
from thinkube.model.settings import home

app = typer.Typer(
    name="thinkube",
    help="From a notebook cell to a running agent, one call later.",
    epilog="Start with: thinkube up",
    no_args_is_help=True,
    # Rich help would triple the time to the first line of output.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from thinkube import __version__

        typer.echo(f"thinkube {__version__}")
        raise typer.Exit


@app.callback()
def _frame(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From a notebook cell to a running agent, one call later."""


services.add_to(app)
agents.add_to(app)
keys.add_to(app)
jobs.add_to(app)
stack.add_to(app)
contexts.add_to(app)
secrets.add_to(app)
doctor.add_to(app)


def invoke(arguments: Sequence[str], notebook: Notebook | None = None) -> int:
    """Run one command line; refusals are raised.

    Args:
        arguments: the words after `thinkube`.
        notebook: the notebook that asks, so that a verb may name a live object and show a rich result.

    Returns:
        The exit code: 0 when it worked, 2 when the call itself is wrong (said on standard error).

    Raises:
        ThinkubeError: what was asked for was refused or failed.
    """
    try:
        # Typer prints wrong calls itself and always leaves by SystemExit.
        app(list(arguments), prog_name="thinkube", obj=notebook)
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 0
    return 0


def run(arguments: Sequence[str]) -> int:
    """Run one command line as the `thinkube` command does.

    Returns:
        0 when it worked, 1 when it was refused or failed, 2 when the call itself is wrong.
    """
    try:
        return invoke(arguments)
    except ThinkubeError as error:
        refusal = error
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        refusal = ConfigurationError(
            f"The system refused: {error.strerror or error}{place}.",
            f"Check that THINKUBE_HOME ({home()}) is a folder you may write to, with room: thinkube doctor",
        )
    print_error(refusal, as_json="--json" in arguments)
    return 1
