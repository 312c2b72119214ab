"""What a run says about itself: `state.json`, replaced at changes, and a line of `metrics.jsonl` a step."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from thinkube.model.errors import ConfigurationError

FORMAT = 1
_ARGO = "ARGO_PROGRESS_FILE"  # Argo Workflows reads `N/M` from it
Phase = Literal[
    "queued", "environment", "preparing", "loading", "training", "running", "evaluating", "registering",
    "finished", "stopped", "failed",
]  # fmt: skip
ENDED: tuple[Phase, ...] = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class RunState:
    """Where a run is.

    Attributes:
        note: the last thing worth knowing, in words.
        step: optimizer steps done, of `steps`.
        loss: of the last step, in nats a token.
        tokens_per_second: read by the model, padding left out.
        seconds_left: until training ends, at the pace so far; None before it can be told.
        memory: bytes at the peak, of the GPU where there is one, else of the process.
        run: MLflow's run.
        error: `type`, `cause` and `fix` of what ended it.
        updated: seconds since the epoch.
    """

    phase: Phase = "queued"
    note: str = ""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    memory: int | None = None
    run: str | None = None
    error: Mapping[str, str] | None = None
    updated: float = 0.0


class Reporter:
    """Writes a run's state into its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.state = read(folder)

    def say(self, **changes: Any) -> None:
        """Change some fields of the state, on disk too."""
        # Read anew: a job's keeper and its training write by turns.
        self.state = replace(read(self._folder), **changes, updated=time.time())
        write_json(self._folder / "state.json", {"format": FORMAT, **asdict(self.state)})
        if (file := os.environ.get(_ARGO)) and self.state.steps:
            Path(file).write_text(f"{min(self.state.step, self.state.steps)}/{self.state.steps}\n")

    def phase(self, phase: Phase, note: str = "") -> None:
        """Enter a phase, and print it to the log."""
        self.say(phase=phase, note=note)
        print(f"thinkube: {phase}{': ' + note if note else ''}", flush=True)

    def note(self, text: str) -> None:
        """Say something, to the log too."""
        self.say(note=text)
        print(f"thinkube: {text}", flush=True)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Append one step's metrics."""
        line = json.dumps({"step": step, "time": time.time(), **values})
        with (self._folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def read(folder: Path) -> RunState:
    """The state of the run in a folder.

    Raises:
        ConfigurationError: it was written by another version, or is damaged.
    """
    path = folder / "state.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("format") != FORMAT:
            raise ConfigurationError(
                f"{path} was written by another version of Thinkube.", "Use that version, or start a new job."
            )
        return RunState(**document)
    except FileNotFoundError:
        return RunState()
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} is damaged: {error}", "Start a new job.") from error


def metrics(folder: Path) -> list[dict[str, float]]:
    """Every step's metrics, the latest attempt at each step."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    steps: dict[int, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.endswith("}"):  # a line cut off by a kill has no end
            entry = json.loads(line)
            steps[entry["step"]] = entry
    return [steps[step] for step in sorted(steps)]


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    scratch.replace(path)
