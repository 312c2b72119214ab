"""Capture in, bundle out: lock, render, make the environment, verify, keep."""

from __future__ import annotations

import ast
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from types import MappingProxyType

from thinkube.bundles import digest, environments
from thinkube.bundles.lock import lock as lock_of
from thinkube.bundles.progress import Progress, silent
from thinkube.bundles.render import AGENT, JOB, Rendering, default_name, render
from thinkube.bundles.report import Report
from thinkube.bundles.store import Store
from thinkube.bundles.verify import verify as verify_import
from thinkube.capture.credentials import refuse_credentials
from thinkube.model import manifest as manifests
from thinkube.model.bundle import Bundle, Manifest
from thinkube.model.capture import Capture
from thinkube.model.errors import SecretInSource, UsageError

_NOTHING: Mapping[str, str] = MappingProxyType({})
# The extra of the SDK that a kind of bundle runs on.
_RUNTIMES = {"Agent": "serving", "Job": "job"}


@dataclass(frozen=True)
class Size:
    """See the keys of `Manifest`."""

    replicas: int = 0
    cpu: str = ""
    memory: str = ""


ONE = Size()


@dataclass(frozen=True)
class Package(Bundle):
    """A bundle fresh from the notebook, which still knows what was kept of it and why."""

    @property
    def report(self) -> Report:
        """What was kept of the notebook, what was left out, and why."""
        return Report(self.capture)

    def _repr_html_(self) -> str:
        facts = {
            "entry point": self.manifest.entrypoint,
            "folder": str(self.path),
            "digest": self.digest[:12],
            "runs on": f"Python {self.lock.python}, {len(self.lock.pins)} distributions",
            "imports in a clean environment": "yes" if self.verified else "not tried",
        }
        rows = "".join(f"<tr><th>{key}</th><td>{escape(value)}</td></tr>" for key, value in facts.items())
        title = f"<strong>{escape(self.manifest.name)}</strong>"
        return f"{title}<table>{rows}</table><details><summary>{escape(self.report.summary)}</summary>" + (
            f"{self.report._repr_html_()}</details>"
        )


def package(
    capture: Capture,
    *,
    name: str | None = None,
    out: Path | None = None,
    verify: bool = True,
    environment: Mapping[str, str] = _NOTHING,
    lineage: Mapping[str, str] = _NOTHING,
    kind: str | None = None,
    template: str = AGENT,
    size: Size = ONE,
    progress: Progress = silent,
) -> Package:
    """Make a locked project of a capture, prove that it imports, and keep it.

    Args:
        name: the deployment's name; from the notebook's if not given.
        out: the folder to write the project into. It may hold an earlier bundle, which is replaced.
            Without it the project stays in the content store.
        verify: import the entry object in an environment made from the lock.
        environment: plain settings the deployed process gets.
        lineage: where this came from, beside the notebook: an MLflow run, a dataset.
        kind: what the live object is (`thinkube.model.kinds`), where that is known.
        size: how many serve it, and what each may use.
        template: what renders the project; it decides whether a service or a job is made.
        progress: told what is being done.

    Raises:
        DistributionMissing, EnvironmentFailed, VerificationFailed: see there.
        UsageError: `out` holds something else, or `name` can't name a deployment.
    """
    if out is not None:
        _check_place(out)
    _refuse_secrets(environment)
    manifest = _manifest(capture, name or default_name(capture), template, environment, lineage, size)
    progress("reading what is installed")
    locked = lock_of(capture, runtime=_RUNTIMES[manifest.kind], progress=progress)
    rendering = render(capture, locked, manifest)
    with tempfile.TemporaryDirectory(prefix="thinkube-bundle-") as scratch:
        folder = Path(scratch) / manifest.name
        rendering.write(folder)
        if verify:
            python = environments.environment(locked, progress)
            verify_import(folder, manifest, capture, python, kind=kind, progress=progress)
            # The import may have written beside the code; what is kept is what was rendered.
            rendering.write(folder)
        place = _write_out(rendering, out) if out is not None else Store().add(folder, rendering.digest)
    return Package(place, rendering.digest, manifest, capture, locked, verified=verify)


def _manifest(
    capture: Capture,
    name: str,
    template: str,
    environment: Mapping[str, str],
    lineage: Mapping[str, str],
    size: Size,
) -> Manifest:
    origin = {"notebook": capture.notebook} if capture.notebook else {}
    manifest = Manifest(
        name=name,
        entrypoint=capture.entrypoint,
        kind="Job" if template == JOB else "Agent",
        template=template,
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        services=tuple(sorted(capture.services)),
        secrets=tuple(sorted(capture.secrets)),
        environment=MappingProxyType({key: str(value) for key, value in environment.items()}),
        lineage=MappingProxyType({**origin, **{key: str(value) for key, value in lineage.items()}}),
        replicas=size.replicas,
        cpu=size.cpu,
        memory=size.memory,
    )
    manifests.check(manifest)
    return manifest


def _check_place(out: Path) -> None:
    """Refuse a folder whose content we did not write, or that someone has worked on since."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file", "Name a folder that does not exist yet, or an empty one.")
    if not any(out.iterdir()):
        return
    if not digest.listed(out):
        raise UsageError(
            f"{out} is not empty and holds no bundle", "Name an empty folder, or one that does not exist."
        )
    if edited := digest.changed(out):
        raise UsageError(
            f"{out} holds a bundle in which {edited[0]} was changed",
            "Move the changes into the notebook, or name another folder.",
        )


def _write_out(rendering: Rendering, out: Path) -> Path:
    """Replace the files of an earlier bundle; whatever else lies in the folder stays."""
    try:
        for path in digest.listed(out):
            (out / path).unlink()
        if (out / "__pycache__").is_dir():
            shutil.rmtree(out / "__pycache__")
        out.mkdir(parents=True, exist_ok=True)
        rendering.write(out)
    except OSError as error:
        raise UsageError(
            f"{out} can't be written: {error}", "Name a folder that you may write to."
        ) from error
    return out.absolute()


def _refuse_secrets(settings: Mapping[str, str]) -> None:
    """Settings are written into the bundle: a credential has no place among them."""
    for name, value in settings.items():
        statement = ast.Assign([ast.Name(name, ast.Store())], ast.Constant(str(value)), lineno=1)
        try:
            refuse_credentials(list(ast.walk(ast.fix_missing_locations(statement))), ())
        except SecretInSource as error:
            raise SecretInSource(
                f"the setting {name} looks like a credential, and settings are written into the bundle",
                f"Hand it over by name, as a secret: secrets=[{name!r}]",
            ) from error
