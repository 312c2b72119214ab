"""Distributions that no index has, carried as wheels. The same installation gives the same bytes."""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from thinkube.bundles.freshness import fingerprint, learn, whole
from thinkube.bundles.indexes import uv_environment
from thinkube.bundles.installed import Distribution
from thinkube.bundles.progress import Progress
from thinkube.model.errors import BundleError, EnvironmentFailed
from thinkube.model.lock import Wheel
from thinkube.model.settings import cache

# What an installer writes beside a wheel's own files.
_INSTALLER = {
    "RECORD",
    "INSTALLER",
    "REQUESTED",
    "direct_url.json",
    "uv_cache.json",
    "uv_build.json",
    "RECORD.jws",
}


def carry(distribution: Distribution, progress: Progress) -> Wheel:
    """The distribution as a wheel, kept for as long as its files are the same.

    Raises:
        BundleError: its files are not what its RECORD says, or its project does not build.
    """
    reason = distribution.unindexed or "kept with the release"
    mark = fingerprint(distribution)
    if kept := sorted((cache() / "wheels" / mark).glob("*.whl")):
        return Wheel(kept[0].name, kept[0].read_bytes(), reason)
    source = distribution.source
    if source is None:
        filename, content = _pack(distribution.name, dict(_wheel_files(distribution)))
    else:
        progress(f"building a wheel of {distribution.name} from {source}")
        before = whole(source)
        files = _build(distribution, source)
        learn(source, files)
        filename, content = _pack(distribution.name, files)
        if whole(source) != before:
            return Wheel(filename, content, reason)  # someone is writing there: the next look is a new one
        mark = fingerprint(distribution)
    _keep(cache() / "wheels" / mark / filename, content)
    return Wheel(filename, content, reason)


def _keep(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


def _build(distribution: Distribution, source: Path) -> dict[str, bytes]:
    """The files of the wheel that the project's own backend builds."""
    with tempfile.TemporaryDirectory(prefix="thinkube-wheel-") as out:
        command = [
            uv(), "build", "--wheel", "--no-create-gitignore", "--python", sys.executable, "--out-dir", out,
            str(source),
        ]  # fmt: skip
        environment = {**uv_environment(), "SOURCE_DATE_EPOCH": "1580601600"}
        # Without a network the build backend comes from uv's cache, and with one it is still faster.
        for extra in (["--offline"], []):
            done = subprocess.run([*command, *extra], capture_output=True, text=True, env=environment)
            if done.returncode == 0:
                break
        else:
            raise BundleError(
                f"{distribution.name} is an editable install of {source}, and its wheel does not build:\n"
                f"{last_lines(done.stderr)}",
                f"Make `uv build --wheel {source}` work, or install a built wheel of it.",
            )
        [built] = Path(out).glob("*.whl")
        with zipfile.ZipFile(built) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            return {name: archive.read(name) for name in names}


def _wheel_files(distribution: Distribution) -> Iterator[tuple[str, bytes]]:
    """An installed distribution's files under the names they have inside a wheel."""
    root = distribution.folder.parent
    prefix = Path(sys.prefix).resolve()
    data = distribution.folder.name.removesuffix(".dist-info") + ".data"
    entry_points = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    entry_points.optionxform = str  # type: ignore[assignment, method-assign]
    entry_points.read(distribution.folder / "entry_points.txt", encoding="utf-8")
    generated = {
        name
        for section in ("console_scripts", "gui_scripts")
        if entry_points.has_section(section)
        for name in entry_points[section]
    }
    for name in distribution.files():
        path = root / name
        if name.endswith(".pyc") or (path.parent == distribution.folder and path.name in _INSTALLER):
            continue
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(
                f"{distribution.name} {distribution.version} ({distribution.unindexed}) has to be carried as "
                f"a wheel, and its file {path} can't be read: {error.strerror}",
                f"Install {distribution.name} again.",
            ) from error
        if not name.startswith(".."):
            yield name, content
            continue
        inside = Path(os.path.normpath(path.absolute())).resolve().relative_to(prefix)
        if inside.parts[0] not in ("bin", "Scripts"):
            yield f"{data}/data/{inside.as_posix()}", content
        elif inside.name not in generated:
            yield f"{data}/scripts/{inside.name}", re.sub(rb"^#!\S*python\S*", b"#!python", content)


def _pack(name: str, files: dict[str, bytes]) -> tuple[str, bytes]:
    """Write a wheel: sorted, undated, stored without compression, so that no tool's version shows."""
    folder = next(
        (path.split("/")[0] for path in files if re.fullmatch(r"[^/]+\.dist-info/WHEEL", path)), None
    )
    if folder is None:
        raise BundleError(
            f"{name} was not installed from a wheel, and no index has it",
            f"Install it again with uv or a current pip: uv pip install --reinstall {name}",
        )
    files.pop(f"{folder}/RECORD", None)
    header = files[f"{folder}/WHEEL"].decode()
    files[f"{folder}/WHEEL"] = re.sub(r"^Generator:.*$", "Generator: thinkube", header, flags=re.M).encode()
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for path, content in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.writerow((path, f"sha256={digest}", len(content)))
    rows.writerow((f"{folder}/RECORD", "", ""))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path, content in [*sorted(files.items()), (f"{folder}/RECORD", record.getvalue().encode())]:
            entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, content)
    return f"{folder.removesuffix('.dist-info')}-{_tag(header)}.whl", out.getvalue()


def _tag(header: str) -> str:
    """The compatibility tag a wheel's file name carries, put together from its WHEEL file."""
    tags = [tag.split("-") for tag in re.findall(r"^Tag:\s*(\S+)", header, flags=re.M)]
    return "-".join(".".join(sorted({tag[part] for tag in tags})) for part in range(3))


def uv() -> str:
    """The `uv` executable that came with the project."""
    from uv import find_uv_bin

    try:
        return str(find_uv_bin())
    except FileNotFoundError as error:
        if found := shutil.which("uv"):
            return found
        raise EnvironmentFailed(
            "the uv executable, which makes environments, is not where its package installs it",
            "Install it again: pip install --force-reinstall uv",
        ) from error


def last_lines(text: str, count: int = 12) -> str:
    """The end of a tool's output, indented, for an error message."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(f"    {line}" for line in lines[-count:])
