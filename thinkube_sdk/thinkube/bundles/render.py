"""A capture, its lock and a template become the files of a project. The same input gives the same bytes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from thinkube.bundles.digest import SUMS, digest_of, seal
from thinkube.model import manifest as manifests
from thinkube.model.bundle import Manifest
from thinkube.model.capture import Capture
from thinkube.model.errors import BundleError, UsageError
from thinkube.model.lock import Lock
from thinkube.services.discovery import lookup

AGENT = "tkt-langchain-agent"
JOB = "tkt-fine-tuning-job"
_WHEELS = "wheels"


@dataclass(frozen=True)
class Rendering:
    """A project in memory: its manifest, its files by relative path, and their digest."""

    manifest: Manifest
    files: Mapping[str, bytes]
    digest: str

    def write(self, folder: Path) -> None:
        """Write the files into a folder."""
        for path, content in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def render(capture: Capture, lock: Lock, manifest: Manifest) -> Rendering:
    """Fill the manifest's template.

    Raises:
        BundleError: a captured file has the place of one that the project can't be without.
        UsageError: there is no such template.
    """
    files = _fill(template_folder(manifest.template) / "template", capture, lock, manifest)
    reserved = {manifests.FILE, manifest.requirements, SUMS, _module_file(capture)}
    for file in capture.files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or str(path) in reserved:
            raise BundleError(
                f"{file.path} ships because {file.reason}, and a bundle has no place for that name",
                "Rename the file, or move it beside or below the notebook.",
            )
        files[str(path)] = file.content
    for pin in lock.pins:
        if pin.wheel:
            files[f"{_WHEELS}/{pin.wheel.filename}"] = pin.wheel.content
    files[SUMS] = seal(files)
    return Rendering(manifest, dict(sorted(files.items())), digest_of(files[SUMS]))


def default_name(capture: Capture) -> str:
    """A deployment name from the notebook's or module's, or from the variable's where there is none.

    Example:
        >>> default_name(Capture("agent", "support", "", (), notebook="Support Desk (v2).ipynb"))
        'support-desk-v2'
    """
    stem = Path(capture.notebook).stem if capture.notebook else capture.name
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:53].strip("-") or "agent"


def template_folder(name: str) -> Path:
    """Where a template lies: inside the installed package, or in the checkout of an editable install."""
    package = Path(__file__).resolve().parents[1]
    places = (package / "templates", package.parents[1] / "templates")
    for place in places:
        if (place / name / "copier.yml").is_file():
            return place / name
    known = sorted({file.parent.name for place in places for file in place.glob("*/copier.yml")})
    raise UsageError(f"there is no template {name!r}", f"Known are: {', '.join(known) or 'none'}.")


def _fill(folder: Path, capture: Capture, lock: Lock, manifest: Manifest) -> dict[str, bytes]:
    from jinja2 import Environment, StrictUndefined

    engine = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    values = _values(capture, lock, manifest)
    names = {**values, "module": _module_file(capture).removesuffix(".py")}
    files = {}
    for source in sorted(folder.rglob("*")):
        if source.is_dir() or source.suffix == ".pyc":
            continue
        path = source.relative_to(folder).as_posix()
        filled = path.endswith(".jinja")
        path = engine.from_string(path.removesuffix(".jinja")).render(names)
        if not path.rpartition("/")[2]:
            continue  # as Copier does with a name that comes to nothing
        if filled:
            text = engine.from_string(source.read_text(encoding="utf-8")).render(values)
            files[path] = text.encode()
        else:
            files[path] = source.read_bytes()
    return files


def _module_file(capture: Capture) -> str:
    return capture.module.replace(".", "/") + ".py"


def _values(capture: Capture, lock: Lock, manifest: Manifest) -> dict[str, Any]:
    """What a template's files can use; the names are those of its Copier questions."""
    return {
        "name": manifest.name,
        "work": "function",
        "gpus": 1,
        "module": capture.module,
        "object": capture.name,
        "python": manifest.python,
        "notebook": capture.notebook or "",
        "source": capture.source,
        "manifest": manifests.write(manifest),
        "requirements": lock.requirements(_WHEELS),
        "services": [_service(name) for name in manifest.services],
        "secrets": list(manifest.secrets),
        "carried": [pin.wheel for pin in lock.pins if pin.wheel],
        "notes": list(lock.notes),
        "sealed": True,
    }


def _service(name: str) -> dict[str, Any]:
    service = lookup(name)
    place = service.environments[0]
    variables = (place.url, place.username, place.secret, *(variable for _, variable in place.options))
    return {
        "name": name,
        "title": service.title,
        "purpose": service.purpose,
        "variables": [variable for variable in variables if variable],
    }
