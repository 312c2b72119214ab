"""Verbs for work that ends: submit, and jobs list, show, logs, stop, resume, wait."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from thinkube.cli.agents import settings_of, subject_of
from thinkube.cli.output import Json, Notebook, print_json, print_rich, progress, silent
from thinkube.model.errors import UsageError

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A notebook (.ipynb), a module (.py), or in a notebook the name of a function.",
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The job's name.")]
On = Annotated[str | None, typer.Option("--on", help="A context with a cluster; this machine if not given.")]

jobs_app = typer.Typer(name="jobs", help="Jobs: list, show, logs, stop, resume, wait.", no_args_is_help=True)


def submit(
    context: typer.Context,
    source: Source,
    object_name: Annotated[str | None, typer.Option("--object", help="The function's name.")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--parameter", metavar="NAME=VALUE", help="A parameter of the function. May be given again."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The job's name; a number follows it.")] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="KEY=VALUE", help="A plain setting. May be given again."),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option("--secret", help="A secret to hand on, by name. May be given again."),
    ] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", help="0 for none; else one if there is one.")] = None,
    experiment: Annotated[str | None, typer.Option("--experiment", help="MLflow's experiment.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    as_json: Json = False,
) -> None:
    """Run a training function as a job, in its locked environment and a process of its own."""
    from thinkube.targets.jobs_submit import submit as run

    subject, chosen = subject_of(context, source, object_name)
    job = run(
        subject,
        object=chosen,
        name=name,
        env=settings_of(env or []),
        secrets=tuple(secret or ()),
        gpus=gpus,
        experiment=experiment,
        parameters=parameters_of(parameter or []),
        texts=True,
        progress=silent if as_json else progress,
    )
    if wait:
        job.wait(progress=not as_json)
    if as_json:
        print_json(job.to_dict())
    elif isinstance(context.obj, Notebook):
        context.obj.display(job)
    else:
        typer.echo(
            str(job.result) if wait else f"{job.name} is {job.status}: thinkube jobs logs {job.name} -f"
        )


def parameters_of(words: list[str]) -> dict[str, str]:
    """Read `NAME=VALUE` words.

    Raises:
        UsageError: one has no `=`, or a name comes twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"{word!r} is not NAME=VALUE.", "Give a parameter like this: -p steps=200")
        if name in found:
            raise UsageError(f"{name} is given twice.", "Give each parameter once.")
        found[name] = value
    return found


@jobs_app.command("list", epilog="Example: thinkube jobs list --json")
def list_jobs(on: On = None, as_json: Json = False) -> None:
    """List the jobs, oldest first."""
    from rich.table import Table

    from thinkube.targets.jobs import jobs

    found = jobs(on)
    if as_json:
        print_json([job.to_dict() for job in found])
    elif not found:
        typer.echo("There is no job. Begin one with: thinkube submit notebook.ipynb --object train")
    else:
        table = Table("name", "status", "step", "loss", "note", box=None)
        for job in found:
            facts = job.to_dict()
            step = f"{facts['step']}/{facts['steps']}" if facts["steps"] else ""
            loss = "" if facts["loss"] is None else f"{facts['loss']:.3f}"
            table.add_row(job.name, facts["status"], step, loss, str(facts["note"])[:60])
        print_rich(table)


@jobs_app.command("show", epilog="Example: thinkube jobs show train-1")
def show_job(name: Name, on: On = None, as_json: Json = False) -> None:
    """Show one job: status, progress, MLflow run, result or error."""
    from thinkube.targets.jobs import job

    _told(job(name, on).to_dict(), as_json)


@jobs_app.command("logs", epilog="Example: thinkube jobs logs train-1 --follow")
def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as new lines come.")] = False,
    on: On = None,
    as_json: Json = False,
) -> None:
    """Print what a job has logged."""
    from thinkube.targets.jobs import job

    for line in job(name, on).logs(follow=follow):
        print_json({"line": line}) if as_json else typer.echo(line)


@jobs_app.command("stop", epilog="Example: thinkube jobs stop train-1")
def stop(
    name: Name,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait for its end.")] = 600.0,
    kill: Annotated[bool, typer.Option("--kill", help="End it by force after that.")] = False,
    on: On = None,
    as_json: Json = False,
) -> None:
    """End a job with a checkpoint, so that it can be resumed."""
    from thinkube.targets.jobs import job

    found = job(name, on)
    try:
        found.stop(timeout, kill=kill)
    except TimeoutError as error:
        raise UsageError(str(error), f"End it by force: thinkube jobs stop {name} --kill") from error
    _told(found.to_dict(), as_json)


@jobs_app.command("resume", epilog="Example: thinkube jobs resume train-1")
def resume(name: Name, on: On = None, as_json: Json = False) -> None:
    """Go on from a job's last checkpoint, in the same MLflow run."""
    from thinkube.targets.jobs import job

    _told(job(name, on).resume().to_dict(), as_json)


@jobs_app.command("wait", epilog="Example: thinkube jobs wait train-1")
def wait_for(
    name: Name,
    timeout: Annotated[float | None, typer.Option("--timeout", help="Seconds to wait at most.")] = None,
    on: On = None,
    as_json: Json = False,
) -> None:
    """Wait until a job ends; 1 where it failed."""
    from thinkube.targets.jobs import job

    found = job(name, on)
    try:
        found.wait(timeout, progress=not as_json)
    except TimeoutError as error:
        raise UsageError(str(error), "Wait again, with a longer --timeout.") from error
    _told(found.to_dict(), as_json)


def _told(facts: dict[str, Any], as_json: bool) -> None:
    from rich.table import Table

    if as_json:
        print_json(facts)
        return
    table = Table(box=None, show_header=False)
    for key, value in facts.items():
        if value is not None:
            told = "\n".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
            table.add_row(key, told)
    print_rich(table)


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog="Example: thinkube submit notebook.ipynb --object train -p steps=200")(submit)
    app.add_typer(jobs_app)
