"""Free the space of what nobody uses: environments, wheels, bundles that were never released."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from thinkube.bundles.environments import read_lock
from thinkube.bundles.exclusive import exclusive
from thinkube.bundles.registry import released
from thinkube.bundles.store import Store
from thinkube.model.settings import cache

_DAY = 86400.0


@dataclass(frozen=True)
class Unused:
    """Something that can go.

    Attributes:
        path: where it is.
        what: for people: "environment", "bundle", "wheel", "lock", "leftover".
        size: bytes on disk; files that are shared with uv's cache count as well.
        idle: days since it was last used or, where that is not known, made.
    """

    path: Path
    what: str
    size: int
    idle: float


def unused(running: Collection[str] = (), days: float = 30.0) -> list[Unused]:
    """What no deployment needs and nobody used for a while, largest first.

    Args:
        running: digests of the bundles that deployments run now; what these need always stays.
        days: how long something has to be idle.
    """
    found = [each for each in _candidates(running) if each.idle >= days]
    return sorted(found, key=lambda each: -each.size)


def remove(several: Collection[Unused]) -> int:
    """Remove what `unused` found, and give the number of bytes."""
    for each in several:
        if each.what == "environment":
            # Its maker holds the same file: nothing is removed from under it.
            with exclusive(each.path.with_suffix(".lock")):
                shutil.rmtree(each.path, ignore_errors=True)
        elif each.path.is_dir():
            shutil.rmtree(each.path, ignore_errors=True)
        else:
            each.path.unlink(missing_ok=True)
    return sum(each.size for each in several)


def _candidates(running: Collection[str]) -> Iterator[Unused]:
    store = Store()
    needed = {
        read_lock(store.folder / digest).digest for digest in running if (store.folder / digest).is_dir()
    }
    for entry in _entries(cache() / "environments"):
        if entry.is_dir() and not entry.name.startswith(".") and entry.name not in needed:
            yield _look(entry, "environment")
    kept = {*running, *released()}
    for digest in store.digests():
        if digest not in kept:
            yield _look(store.folder / digest, "bundle")
    for entry in _entries(cache() / "wheels"):
        if entry.name != "origins":
            yield _look(entry, "wheel")
    for entry in _entries(cache() / "locks"):
        yield _look(entry, "lock")
    for place in (cache() / "environments", store.folder):
        for entry in _entries(place):
            if entry.name.startswith("."):
                yield _look(entry, "leftover")


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _look(path: Path, what: str) -> Unused:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.lstat().st_size for file in files)
    return Unused(path, what, size, (time.time() - path.stat().st_mtime) / _DAY)
