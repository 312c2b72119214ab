"""What the code of a job can say and ask: how far it is, and where its checkpoints lie."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

CHECKPOINTS = "THINKUBE_CHECKPOINTS"

_listener: Callable[[int, int | None, Mapping[str, float]], None] | None = None


def report(step: int, steps: int | None = None, **metrics: float) -> None:
    """Say how far the function is. In a notebook, where no job runs, it does nothing.

    Args:
        step: steps done.
        steps: how many there are to do, where that is known.
        metrics: figures of this step, for the job's progress and its MLflow run.

    Example:
        for step in range(1, 101):
            loss = learn()
            tk.report(step, 100, loss=loss)
    """
    if _listener is not None:
        _listener(step, steps, {key: float(value) for key, value in metrics.items()})


def checkpoints() -> Path:
    """The folder whose files a resumed job finds again; `checkpoints` beside the notebook, where no job runs.

    Example:
        saved = tk.checkpoints() / "model.json"
        model = load(saved) if saved.exists() else start()
    """
    folder = Path(os.environ.get(CHECKPOINTS) or "checkpoints").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def listen(listener: Callable[[int, int | None, Mapping[str, float]], None]) -> None:
    """Hear what the function reports."""
    global _listener
    _listener = listener


class Pace:
    """How long the rest takes, at the pace since this process began."""

    def __init__(self) -> None:
        self._began: tuple[int, float] | None = None

    def left(self, step: int, steps: int | None) -> float | None:
        """Seconds left; None before it can be told."""
        if self._began is None:
            self._began = (step, time.monotonic())
            return None
        first, at = self._began
        if not steps or step <= first:
            return None
        return (time.monotonic() - at) / (step - first) * max(steps - step, 0)
