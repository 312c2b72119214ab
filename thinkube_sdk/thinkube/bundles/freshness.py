"""Whether a distribution's files are still those a wheel was made from, told by a look at their dates.

An editable project's folder often holds notebooks and the output of experiments too. After a build
it is known which folders the wheel's files came from, and only those, their neighbours' names and
the project's own settings are looked at.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

from thinkube.bundles.installed import Distribution
from thinkube.model.settings import cache

_SKIPPED = {"__pycache__", "node_modules", "build", "dist", "site-packages"}
# What a build reads at a project's top beside packages: settings, read-me, licence, build scripts.
_SETTINGS = {".py", ".toml", ".cfg", ".in", ".txt", ".md", ".rst", ""}


def fingerprint(distribution: Distribution) -> str:
    """Changes when a file that matters for the distribution's wheel does."""
    digest = sha256(f"{distribution.name} {distribution.version}\n".encode())
    for line in _looked_at(distribution):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def whole(source: Path) -> str:
    """Changes when anything in a project's folder does."""
    return sha256("\n".join(map(_dated, _walk(source))).encode()).hexdigest()


def learn(source: Path, members: Mapping[str, bytes]) -> None:
    """Note which of a project's folders a wheel's files came from; nothing if the build made any itself."""
    found = _origins(source, members)
    path = _notes(source)
    if found is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(sorted(found), file)
    Path(file.name).replace(path)


def _looked_at(distribution: Distribution) -> Iterator[str]:
    source = distribution.source
    if source is None:
        root = distribution.folder.parent
        yield from (_dated(root / name) for name in distribution.files() if not name.endswith(".pyc"))
        return
    try:
        watched = [source / place for place in json.loads(_notes(source).read_text())]
    except (FileNotFoundError, json.JSONDecodeError):
        yield from map(_dated, _walk(source))
        return
    yield "watched"
    for place in watched:
        yield from map(_dated, _walk(place))
    for parent in sorted({source, *(place.parent for place in watched)}):
        for entry in sorted(parent.iterdir()) if parent.is_dir() else ():
            if (entry.name.startswith(".") and entry.name != ".gitignore") or entry.name in _SKIPPED:
                continue
            if entry.is_dir():
                yield entry.name  # a new package beside the known ones
            elif entry.suffix in _SETTINGS:
                yield _dated(entry)


def _origins(source: Path, members: Mapping[str, bytes]) -> set[str] | None:
    """The folders and modules, relative to `source`, that hold the wheel's files."""
    named = defaultdict(list)
    for path in _walk(source):
        named[path.name].append(path.relative_to(source))
    found = set()
    for member, content in members.items():
        inside = PurePosixPath(member)
        if inside.parts[0].endswith((".dist-info", ".data")):
            continue
        same = [path for path in named[inside.name] if (source / path).read_bytes() == content]
        if not same:
            return None
        nearest = max(same, key=lambda path: _shared(path.parts, inside.parts))
        before = len(nearest.parts) - _shared(nearest.parts, inside.parts)
        found.add(Path(*nearest.parts[: before + 1]).as_posix())
    return found


def _shared(path: tuple[str, ...], member: tuple[str, ...]) -> int:
    """How many last parts two paths have in common."""
    count = 0
    for one, other in zip(reversed(path), reversed(member), strict=False):
        if one != other:
            break
        count += 1
    return count


def _walk(place: Path) -> Iterable[Path]:
    """A file, or a folder's files but for hidden folders, build outputs and virtual environments."""
    if place.is_file():
        yield place
    for folder, folders, files in os.walk(place):
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        yield from (Path(folder, name) for name in sorted(files))


def _dated(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return f"{path} is gone"
    return f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}"


def _notes(source: Path) -> Path:
    return cache() / "wheels" / "origins" / f"{sha256(str(source).encode()).hexdigest()}.json"
