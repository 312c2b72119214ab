"""What is installed in this interpreter, read from metadata on disk and nothing imported.

`importlib.metadata` parses each METADATA as an e-mail (0.7 ms) and each RECORD as CSV: 0.5 s for 300
distributions. Here headers are read as lines, RECORDs are searched for the names asked for, and
only distributions that matter are opened: 30 ms for the same 300.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from packaging.utils import canonicalize_name


@dataclass(frozen=True)
class Distribution:
    """One installed distribution.

    Attributes:
        name: in canonical form.
        version: as its metadata gives it.
        requires: its Requires-Dist lines.
        extras: its Provides-Extra lines, in canonical form.
        folder: its `.dist-info` (or `.egg-info`).
        origin: what `direct_url.json` says: from where it was installed if not from an index.
    """

    name: str
    version: str
    requires: tuple[str, ...]
    extras: frozenset[str]
    folder: Path
    origin: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def source(self) -> Path | None:
        """The folder an editable install stands in, or None for a regular one."""
        if self.origin.get("dir_info", {}).get("editable"):
            return Path(url2pathname(urlparse(self.origin["url"]).path))
        develop = self.folder.parent
        if self.folder.suffix == ".egg-info" and (
            (develop / "setup.py").exists() or (develop / "pyproject.toml").exists()
        ):
            return develop
        return None

    @property
    def unindexed(self) -> str | None:
        """Why no index can supply this installation, or None for one that came from an index."""
        if source := self.source:
            return f"editable install of the folder {source.name}"
        # conda writes the path of its own build machine here.
        if not self.origin or _read(self.folder / "INSTALLER").strip() == "conda":
            return None
        url = urlparse(self.origin["url"])
        # Neither a credential nor a path of this machine belongs into a bundle.
        place = f"{url.hostname}{url.path}" if url.hostname else f"the local {Path(url.path).name}"
        if vcs := self.origin.get("vcs_info"):
            return f"installed from {vcs['vcs']}, {place} at {vcs.get('commit_id', 'an unnamed commit')[:12]}"
        return f"installed from {place}"

    def files(self) -> list[str]:
        """Its files, relative to the folder that `folder` stands in."""
        return [str(file) for file in metadata.Distribution.at(self.folder).files or ()]


class Site:
    """The distributions on a search path, opened when they are asked for."""

    def __init__(self, path: Iterable[str] | None = None) -> None:
        self._path = [Path(entry or ".") for entry in (sys.path if path is None else path)]
        self._opened: dict[str, Distribution | None] = {}

    @cached_property
    def folders(self) -> dict[str, Path]:
        """Canonical name to metadata folder. Of two with one name the first counts, as in imports."""
        found: dict[str, Path] = {}
        for place in self._path:
            try:
                with os.scandir(place) as entries:
                    names = sorted(
                        entry.name for entry in entries if entry.name.endswith((".dist-info", ".egg-info"))
                    )
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue
            for name in names:
                stem = name.rpartition(".")[0].partition("-")[0]
                found.setdefault(canonicalize_name(stem), place / name)
        return found

    def fingerprint(self) -> list[tuple[str, int]]:
        """Changes when anything is installed, upgraded or removed."""
        return [(str(folder), folder.stat().st_mtime_ns) for _, folder in sorted(self.folders.items())]

    def get(self, name: str) -> Distribution | None:
        """The installed distribution of that name, or None."""
        name = canonicalize_name(name)
        if name not in self._opened:
            folder = self.folders.get(name)
            self._opened[name] = _open(folder) if folder else None
        return self._opened[name]

    def owners(self, modules: Iterable[str]) -> dict[str, list[str]]:
        """The distributions that provide each of `modules` (dotted names), by file.

        A name that several distributions share (`google`, `langgraph`, `opentelemetry`) is followed
        down to the files that tell them apart. The one the name belongs to always comes along: parts
        of `langgraph` import it without requiring it.
        """
        wanted = list(modules)
        tops = {module.partition(".")[0] for module in wanted}
        records = self._records(tops)
        return {module: self._owners_of(module, records) for module in wanted}

    def _records(self, tops: set[str]) -> dict[str, set[str]]:
        """For each distribution with a file of one of the top-level names: those files."""
        if not tops:
            return {}
        names = "|".join(re.escape(top) for top in sorted(tops))
        line = re.compile(rf'^"?((?:{names})(?:/[^,\n]*|(?:\.[\w-]+)*\.(?:py|so|pyd)))[",]', re.MULTILINE)
        found = {}
        for name, folder in self.folders.items():
            text = _read(folder / "RECORD")
            files = set(line.findall(text)) if text else self._unrecorded(folder, tops)
            if files:
                found[name] = files
        return found

    def _unrecorded(self, folder: Path, tops: set[str]) -> set[str]:
        if not folder.is_dir():
            return set()
        files = {str(file) for file in metadata.Distribution.at(folder).files or ()}
        return {file for file in files if re.split(r"[/.]", file)[0] in tops}

    def _owners_of(self, module: str, records: dict[str, set[str]]) -> list[str]:
        parts = module.split(".")
        sharing = [name for name, files in records.items() if any(_under(file, parts[0]) for file in files)]
        if not sharing:
            return self._editable_owners(parts[0])
        if len(sharing) == 1:
            return sharing
        namesake = canonicalize_name(parts[0])
        return sorted({*self._nearest(parts, records, sharing), *({namesake} & set(sharing))})

    def _nearest(self, parts: list[str], records: dict[str, set[str]], sharing: list[str]) -> list[str]:
        """Of distributions that share a name, those with the file that goes furthest along `parts`."""
        for depth in range(len(parts), 0, -1):
            stem = "/".join(parts[:depth])
            modules = (f"{stem}.py", f"{stem}/__init__.py")
            direct = [
                name
                for name in sharing
                if not records[name].isdisjoint(modules)
                or any(re.fullmatch(rf"{re.escape(stem)}\.[\w.-]*(so|pyd)", file) for file in records[name])
            ]
            if direct:
                return direct
            inside = [name for name in sharing if any(file.startswith(f"{stem}/") for file in records[name])]
            if depth > 1 and inside:
                return inside
        namesake = canonicalize_name(parts[0])
        return [namesake] if namesake in sharing else sharing

    def _editable_owners(self, top: str) -> list[str]:
        """An editable install's RECORD lists no modules: ask the import system where the module lies."""
        location = module_location(top)
        if location is None:
            return []
        owners = [
            (len(source.parts), name)
            for name in self.folders
            if (_maybe_editable(self.folders[name]))
            and (distribution := self.get(name))
            and (source := distribution.source)
            and location.is_relative_to(source.resolve())
        ]
        # In a repository with several projects the innermost folder is the module's own.
        return [max(owners)[1]] if owners else []


def module_location(top: str) -> Path | None:
    """The file or folder the import system finds a top-level module in."""
    try:
        spec = find_spec(top)
    except (ValueError, ImportError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin and spec.has_location else None


def _under(file: str, top: str) -> bool:
    return file.startswith((f"{top}/", f"{top}."))


def _maybe_editable(folder: Path) -> bool:
    return folder.suffix == ".egg-info" or (folder / "direct_url.json").exists()


def _open(folder: Path) -> Distribution | None:
    text = (
        _read(folder / "METADATA")
        or _read(folder / "PKG-INFO")
        or (_read(folder) if folder.is_file() else "")
    )
    header, _, _ = text.replace("\r\n", "\n").partition("\n\n")
    fields: dict[str, list[str]] = {}
    # A line that starts with a space continues the one before it.
    for line in re.sub(r"\n[ \t]+", " ", header).split("\n"):
        key, _, value = line.partition(":")
        fields.setdefault(key.lower(), []).append(value.strip())
    if "name" not in fields or "version" not in fields:
        return None
    origin = _read(folder / "direct_url.json")
    return Distribution(
        name=canonicalize_name(fields["name"][0]),
        version=fields["version"][0],
        requires=tuple(fields.get("requires-dist", ())),
        extras=frozenset(canonicalize_name(extra) for extra in fields.get("provides-extra", ())),
        folder=folder.absolute(),
        origin=json.loads(origin) if origin else {},
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
