"""Verbs for agents: package, deploy, list, show, logs, ask, history, rollback, delete."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from thinkube.cli.output import Json, Notebook, print_json, print_rich, progress, show, silent
from thinkube.model.errors import UsageError

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="A notebook (.ipynb), a module (.py), or in a notebook the name of an object."
    ),
]
Object = Annotated[str | None, typer.Option("--object", help="The variable that holds the agent.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The deployment's name.")]

On = Annotated[
    str | None,
    typer.Option("--on", metavar="CONTEXT", help="Where: a context, `local` or `cluster`."),
]


def subject_of(context: typer.Context, source: str, name: str | None) -> tuple[Any, str | None]:
    """Tell what SOURCE means here: a file with `--object`, or a live variable of the notebook.

    Returns:
        What to hand to `tk.deploy` or `tk.package`, and the name of the object within it.

    Raises:
        UsageError: SOURCE is neither, or is a file and `--object` is missing.
    """
    if source.endswith((".ipynb", ".py")):
        if name is None:
            raise UsageError(
                f"{source} holds many names and none was chosen.",
                f"Say which one: thinkube {context.info_name} {source} --object agent",
            )
        return Path(source), name
    notebook = context.obj
    if not isinstance(notebook, Notebook):
        raise UsageError(
            f"{source!r} is neither a notebook (.ipynb) nor a module (.py).",
            f"Name the file and the object: thinkube {context.info_name} notebook.ipynb --object {source}",
        )
    if source not in notebook.variables:
        raise UsageError(f"This notebook has no variable {source!r}.", "Run the cell that defines it first.")
    return notebook.variables[source], name or source


def package(
    context: typer.Context,
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="The folder to write; made if missing.")],
    object_name: Object = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Import the result in a clean environment.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Write the code an object needs as a project of its own."""
    from thinkube.bundles.report import Report
    from thinkube.targets.deploy import package as make

    subject, chosen = subject_of(context, source, object_name)
    bundle = make(subject, object=chosen, out=out, verify=verify, progress=silent if as_json else progress)
    if as_json:
        print_json(
            {
                "path": str(bundle.path),
                "name": bundle.manifest.name,
                "entrypoint": bundle.manifest.entrypoint,
                "digest": bundle.digest,
                "verified": bundle.verified,
                "secrets": list(bundle.manifest.secrets),
                "services": list(bundle.manifest.services),
                "report": Report(bundle.capture).to_dict(),
            }
        )
        return
    show(context, Report(bundle.capture))
    typer.echo(f"{bundle.manifest.entrypoint} is in {bundle.path}")


def deploy(
    context: typer.Context,
    source: Source,
    object_name: Object = None,
    name: Annotated[str | None, typer.Option("--name", help="The deployment's name.")] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="KEY=VALUE", help="A plain setting. May be given again."),
    ] = None,
    replicas: Annotated[int | None, typer.Option("--replicas", help="How many processes or pods.")] = None,
    cpu: Annotated[
        str | None, typer.Option("--cpu", help="Cores each asks for on a cluster: 2, 500m.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option("--memory", help="What each may use on a cluster: 512Mi.")
    ] = None,
    on: On = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the objects it would make on a cluster."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run an agent: capture, lock, verify, register, and switch traffic to it when it is ready."""
    from thinkube.targets.deploy import deploy as run

    subject, chosen = subject_of(context, source, object_name)
    size: dict[str, Any] = {"replicas": replicas, "cpu": cpu, "memory": memory}
    if dry_run:
        import yaml

        from thinkube.targets.deploy import dry_run as render

        settings = settings_of(env or [])
        told = render(subject, object=chosen, name=name, env=settings, on=on, **size, progress=silent)
        print_json(list(yaml.safe_load_all(told))) if as_json else typer.echo(told)
        return
    deployment = run(
        subject,
        object=chosen,
        name=name,
        env=settings_of(env or []),
        on=on,
        **size,
        progress=silent if as_json else progress,
    )
    print_json(deployment.to_dict()) if as_json else show(context, deployment)


def settings_of(pairs: list[str]) -> dict[str, str]:
    """Read `KEY=VALUE` words.

    Raises:
        UsageError: a word has no `=` or no key.

    Example:
        >>> settings_of(["MODE=fast"])
        {'MODE': 'fast'}
    """
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--env {pair!r} is not a setting.", "Write it as --env KEY=VALUE.")
        settings[key] = value
    return settings


def list_deployments(on: On = None, as_json: Json = False) -> None:
    """List the deployments."""
    from rich.table import Table

    from thinkube.targets.deploy import deployments

    found = deployments(on)
    if as_json:
        print_json([deployment.to_dict() for deployment in found])
    elif not found:
        typer.echo("Nothing is deployed. Deploy an agent with: thinkube deploy notebook.ipynb --object agent")
    else:
        table = Table("name", "version", "status", "url", box=None)
        for deployment in found:
            table.add_row(deployment.name, str(deployment.release.version), deployment.status, deployment.url)
        print_rich(table)


def show_deployment(name: Name, on: On = None, as_json: Json = False) -> None:
    """Show one deployment: URL, status, release and where its code came from."""
    from rich.table import Table

    from thinkube.targets.deploy import deployment

    facts = deployment(name, on).to_dict()
    if as_json:
        print_json(facts)
        return
    table = Table(box=None, show_header=False)
    for key, value in facts.items():
        table.add_row(
            key, "\n".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        )
    print_rich(table)


def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as new lines come.")] = False,
    on: On = None,
    as_json: Json = False,
) -> None:
    """Print what a deployment has logged."""
    from thinkube.targets.deploy import deployment

    for line in deployment(name, on).logs(follow=follow):
        print_json({"line": line}) if as_json else typer.echo(line)


def ask(
    name: Name,
    question: Annotated[str, typer.Argument(help="What to ask, in words.")],
    on: On = None,
    as_json: Json = False,
) -> None:
    """Ask a deployed agent one question and print its answer."""
    from thinkube.targets.deploy import deployment

    answer = deployment(name, on).ask(question)
    print_json({"answer": answer}) if as_json else typer.echo(answer)


def history(name: Name, on: On = None, as_json: Json = False) -> None:
    """List a deployment's releases, newest first."""
    import time

    from rich.table import Table

    from thinkube.targets.deploy import deployment

    found = deployment(name, on)
    current = found.release.version
    releases = sorted(found.history(), key=lambda release: release.version, reverse=True)
    if as_json:
        print_json(
            [
                {
                    "version": release.version,
                    "digest": release.digest,
                    "created": release.created,
                    "current": release.version == current,
                    "lineage": dict(release.lineage),
                }
                for release in releases
            ]
        )
        return
    table = Table("", "version", "created", "digest", "from", box=None)
    for release in releases:
        table.add_row(
            "→" if release.version == current else "",
            str(release.version),
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(release.created)),
            release.digest[:12],
            release.lineage.get("notebook", ""),
        )
    print_rich(table)


def diff(
    context: typer.Context,
    name: Name,
    before: Annotated[
        int | None, typer.Argument(metavar="[A]", help="The older release; the one before B if not given.")
    ] = None,
    after: Annotated[
        int | None, typer.Argument(metavar="[B]", help="The newer; the one that runs if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what differs between two releases: code, lock and configuration."""
    from thinkube.targets.deploy import deployment

    found = deployment(name).diff(before, after)
    print_json(found.to_dict()) if as_json else show(context, found)


def rollback(
    name: Name,
    to: Annotated[
        int | None, typer.Option("--to", help="The version to run; the previous one if not given.")
    ] = None,
    on: On = None,
    as_json: Json = False,
) -> None:
    """Run an earlier release again."""
    from thinkube.targets.deploy import deployment

    found = deployment(name, on)
    found.rollback(to)
    now = deployment(name, on)
    print_json(now.to_dict()) if as_json else typer.echo(f"{name} runs version {now.release.version} again.")


def delete(name: Name, on: On = None, as_json: Json = False) -> None:
    """Stop a deployment and remove it. Its releases stay in the registry."""
    from thinkube.targets.deploy import deployment

    deployment(name, on).delete()
    print_json({"deleted": name}) if as_json else typer.echo(f"{name} is deleted.")


def export(
    name: Name,
    out: Annotated[Path, typer.Option("--out", help="The folder to write; made if missing.")],
    on: On = None,
    as_json: Json = False,
) -> None:
    """Write a deployment's Kubernetes objects as a kustomize folder, for Git and Argo CD."""
    from thinkube.targets.deploy import export as write

    files = write(name, out, on)
    print_json([str(file) for file in files]) if as_json else typer.echo(f"{len(files)} files are in {out}")


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog="Example: thinkube package notebook.ipynb --object agent --out project")(package)
    app.command(epilog="Example: thinkube deploy notebook.ipynb --object agent --name docs-agent")(deploy)
    app.command("list", epilog="Example: thinkube list --json")(list_deployments)
    app.command("show", epilog="Example: thinkube show docs-agent")(show_deployment)
    app.command(epilog="Example: thinkube logs docs-agent --follow")(logs)
    app.command(epilog='Example: thinkube ask docs-agent "What does zip do?"')(ask)
    app.command(epilog="Example: thinkube history docs-agent")(history)
    app.command(epilog="Example: thinkube diff docs-agent 1 2")(diff)
    app.command(epilog="Example: thinkube rollback docs-agent --to 2")(rollback)
    app.command(epilog="Example: thinkube delete docs-agent")(delete)
    app.command(epilog="Example: thinkube export docs-agent --on team --out deploy/docs-agent")(export)
