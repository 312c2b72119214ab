"""Why a release did not get ready, and how that is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thinkube.model.bundle import Manifest
from thinkube.model.capture import Capture
from thinkube.model.errors import RolloutFailed


@dataclass(frozen=True)
class Failure:
    """Why a process is not serving.

    Attributes:
        how: `raised` while its code was imported, `exited` without a word, `timeout`, `cancelled`,
            `cluster` where the cluster does not let it run.
        error: the exception's type where it raised.
        message: what it says.
        frames: where it was raised, as the runtime reports it.
        tail: its last log lines.
        fix: what to do about it, where the place that ran it knows.
    """

    how: str
    error: str
    message: str
    frames: tuple[Mapping[str, Any], ...] = ()
    tail: tuple[str, ...] = ()
    fix: str = ""


class NotReady(Exception):
    """A release did not get ready."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


_FIXES = {
    "exited": "Code that ends its process (sys.exit, a crash, too little memory) can't be deployed.",
    "timeout": "Move slow work out of the import into a function, or allow more: deploy(…, timeout=600).",
    "cancelled": "Deploy again when you are ready.",
}


def explained(failure: Failure, manifest: Manifest, before: str, capture: Capture | None) -> RolloutFailed:
    """The error a user sees.

    Args:
        before: what the deployment ran before, for people; empty for nothing.
        capture: what the release was made from, to name the notebook's cells; None if unknown.
    """
    what = f"{failure.error}: {failure.message}" if failure.error else failure.message
    cause = f"The new release of {manifest.name} did not get ready: {what}."
    places = [place_of(frame, capture) for frame in failure.frames]
    cause += "".join(f"\n    {place}" for place in places)
    if failure.how != "raised" and failure.tail:
        cause += "\nIts last log lines:" + "".join(f"\n    {line}" for line in failure.tail[-10:])
    cause += f"\n{before} still serves." if before else "\nNothing is deployed under that name."
    if failure.how != "raised":
        return RolloutFailed(cause, failure.fix or _FIXES[failure.how])
    from thinkube.bundles.verify import advice

    return RolloutFailed(cause, advice(failure.error, failure.message, manifest))


def place_of(frame: Mapping[str, Any], capture: Capture | None) -> str:
    """A line of the bundle as the notebook's author knows it: its cell, line and text."""
    file, line = str(frame["file"]), int(frame["line"] or 0)
    if capture is None or file != capture.module.replace(".", "/") + ".py":
        return f"{file}, line {line}, in {frame['function']}"
    source = capture.source.splitlines()
    text = source[line - 1].strip() if 0 < line <= len(source) else ""
    origin = capture.origins[line - 1] if 0 < line <= len(capture.origins) else None
    return f"{origin or f'{file}, line {line}'}: {text}"
