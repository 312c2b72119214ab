"""One process at a time: a lock file that the system lets go of when its holder dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thinkube.bundles.progress import Progress, silent


@contextmanager
def exclusive(path: Path, waiting: str = "", progress: Progress = silent) -> Iterator[None]:
    """Hold the lock file at `path`; say `waiting` if another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(waiting or f"waiting for another process that holds {path}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
