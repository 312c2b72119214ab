"""Import the entry object in the clean environment. What fails is shown at the notebook's cell and line."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinkube.bundles.installed import Site
from thinkube.bundles.progress import Progress, silent
from thinkube.bundles.wheels import last_lines
from thinkube.model.bundle import Manifest
from thinkube.model.capture import Capture
from thinkube.model.errors import UsageError, VerificationFailed
from thinkube.model.settings import SETTINGS, cache, home
from thinkube.services import contexts, secrets
from thinkube.services.discovery import lookup

LIMIT = 120.0

# What a kind of bundle is imported by.
_ENTRIES = {"Agent": ("thinkube.serving", "check"), "Job": ("thinkube.training.function", "check")}

# What a process needs to find programs, its user, its language and its network.
_MACHINE = (
    "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
)  # fmt: skip


def verify(
    folder: Path,
    manifest: Manifest,
    capture: Capture,
    python: Path,
    *,
    kind: str | None = None,
    limit: float = LIMIT,
    progress: Progress = silent,
) -> str:
    """Import a bundle's entry object in its own environment.

    Args:
        folder: the bundle; its own copy, since an agent may write beside itself when it is imported.
        python: the executable of the environment made from its lock.
        kind: what the live object is, where that is known.
        limit: seconds the import may take.

    Returns:
        The kind of the object that was found.

    Raises:
        VerificationFailed: it doesn't import, takes too long, or is of another kind.
    """
    progress(f"importing {manifest.entrypoint} in a clean environment")
    answer = _ask(_ENTRIES[manifest.kind], folder, manifest, capture, python, limit)
    found = str(answer["kind"])
    if kind is not None and found != kind:
        raise VerificationFailed(
            f"{capture.name} is a {kind} here and a {found} when its captured code runs",
            "A statement that the object needs was left out, or the name was bound again: see the report.",
        )
    return found


def checked_parameters(
    folder: Path,
    manifest: Manifest,
    capture: Capture,
    python: Path,
    parameters: Mapping[str, Any],
    *,
    texts: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Import a training function in its own environment and check what it is to be called with.

    Args:
        texts: the parameters were typed on a command line.

    Returns:
        The parameters as JSON keeps them.

    Raises:
        VerificationFailed: see `verify`.
        UsageError: a parameter is unknown, missing or of the wrong type.
    """
    progress(f"importing {manifest.entrypoint} in its own environment")
    asked = ("--parameters", json.dumps(dict(parameters)), *(["--texts"] if texts else []))
    answer = _ask((*_ENTRIES["Job"], *asked), folder, manifest, capture, python, LIMIT)
    if refused := answer.get("refused"):
        raise UsageError(refused["cause"], refused["fix"])
    return dict(answer["parameters"])


def _ask(
    entry: Sequence[str], folder: Path, manifest: Manifest, capture: Capture, python: Path, limit: float
) -> dict[str, Any]:
    """The answer of the process that imports the entry object."""
    try:
        done = subprocess.run(
            [str(python), "-P", "-m", *entry, "--bundle", str(folder)],
            cwd=folder,
            env=clean_environment(manifest),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        raise VerificationFailed(
            f"{capture.name} was not imported within {limit:.0f} s",
            "Work that takes this long belongs into a function that the first request calls, or a service."
            " What was printed last:\n" + last_lines(_text(error.stderr) or _text(error.stdout)),
        ) from error
    answer = _answer(done.stdout)
    if answer is None:
        raise VerificationFailed(
            f"the process that imports {capture.name} ended with code {done.returncode} and no answer:\n"
            f"{last_lines(done.stderr)}",
            "Code that ends its process (sys.exit, a crash, too little memory) can't be deployed.",
        )
    if not answer["ok"]:
        raise _failure(answer, folder, manifest, capture)
    return answer


def clean_environment(manifest: Manifest) -> dict[str, str]:
    """The variables an agent's process gets: those of its machine, and what its manifest names."""
    names = [*_MACHINE, *(setting.variable for setting in SETTINGS), *manifest.secrets]
    for service in manifest.services:
        for place in lookup(service).environments:
            names += [place.url, *(name for name in (place.secret, place.username) if name)]
            names += [variable for _, variable in place.options]
        names += contexts.variables(service)
    chosen = {name: os.environ[name] for name in names if name in os.environ}
    for name in manifest.secrets:
        if value := secrets.known(name):
            chosen[name] = value
    return {**chosen, "THINKUBE_HOME": str(home()), "THINKUBE_CACHE": str(cache()), **manifest.environment}


def _answer(output: str) -> dict[str, Any] | None:
    """The check's line, among what the agent may have printed."""
    for line in reversed(output.splitlines()):
        try:
            answer = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(answer, dict) and "ok" in answer:
            return answer
    return None


def _failure(
    answer: Mapping[str, Any], folder: Path, manifest: Manifest, capture: Capture
) -> VerificationFailed:
    error, message = str(answer["error"]), str(answer["message"])
    places = [place for frame in answer.get("frames", ()) if (place := _place(frame, folder, capture))]
    at = "".join(f"\n    {place}" for place in places)
    return VerificationFailed(
        f"{capture.name} does not import in a clean environment: {error}: {message}{at}",
        advice(error, message, manifest, capture.notebook),
    )


def _place(frame: Mapping[str, Any], folder: Path, capture: Capture) -> str | None:
    """A traceback's frame as the notebook's author knows it, or None for a library's."""
    try:
        path = (folder / frame["file"]).resolve().relative_to(folder.resolve())
    except ValueError:
        return None
    line = int(frame["line"] or 0)
    if path.as_posix() != capture.module.replace(".", "/") + ".py":
        return f"{path.as_posix()}, line {line}"
    source = capture.source.splitlines()
    text = source[line - 1].strip() if 0 < line <= len(source) else ""
    origin = capture.origins[line - 1] if 0 < line <= len(capture.origins) else None
    return f"{origin or f'line {line} of the captured code'}: {text}"


def advice(error: str, message: str, manifest: Manifest, notebook: str | None = None) -> str:
    """What to do about an exception at import, for the author of `notebook` (or of a module)."""
    unset = [name for name in manifest.secrets if secrets.known(name) is None]
    if module := re.search(r"No module named '(\w+)", message):
        owners = Site().owners([module[1]])[module[1]]
        if owners:
            return (
                f"{owners[0]} is installed here and was not seen to be needed: add "
                f"`%pip install {owners[0]}` to the notebook."
            )
        return (
            f"Nothing here imports {module[1]} either: install its distribution and run the notebook again."
        )
    if error in ("ImportError", "ModuleNotFoundError"):
        return (
            "A library loads what it does not require: add `%pip install` of what it names to the notebook."
        )
    if unset and (error == "KeyError" or any(name in message for name in unset)):
        return (
            f"The code reads {', '.join(unset)} when it is imported: store it with `thinkube secret set "
            f"{unset[0]}`, or set it in the environment this runs in."
        )
    if error == "Unsupported" and manifest.kind == "Job":
        return "A job runs a function that returns: give `--object` the name of one."
    if error == "Unsupported":
        return "Deploy a LangGraph graph, a LangChain runnable, or a function (plain, async or generator)."
    if error in ("ServiceNotFound", "ServiceUnreachable", "CredentialRejected"):
        return "`thinkube status` shows what is found; `thinkube up` starts the services on this machine."
    if error == "NameError":
        return (
            "A statement that binds the name was left out, or ran only in an earlier session: see the report."
        )
    if notebook and notebook.endswith(".py"):
        return f"Run `python {notebook}` in a new process: what fails there fails here."
    return "Restart the kernel and run all cells: what fails there fails here."


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
