"""Folders as image layers. The same content gives the same bytes: sorted, undated, owned by root."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from thinkube.bundles.digest import listed
from thinkube.bundles.environments import install
from thinkube.bundles.exclusive import exclusive
from thinkube.bundles.progress import Progress
from thinkube.model.lock import Lock
from thinkube.model.settings import cache

KIND = "application/vnd.oci.image.layer.v1.tar+gzip"
APP, ENVIRONMENT = "app", "opt/environment"
_DATE = 315532800  # 1980-01-01, the first that zip files know
_FORMAT = "1"  # of these layers: another one makes them anew
_LEVEL = 1  # of compression: a layer goes to a registry nearby, once


@dataclass(frozen=True)
class Layer:
    """A layer on disk.

    Attributes:
        digest: of the compressed bytes.
        content: of the bytes before compression, as an image's configuration names it.
        size: of the compressed bytes.
    """

    digest: str
    content: str
    size: int


def bundle_layer(bundle: Path) -> tuple[Layer, bytes]:
    """A bundle's files, at /app."""
    out = io.BytesIO()
    files = {path: bundle / path for path in ("SHA256SUMS", *listed(bundle))}
    layer = _write({f"{APP}/{path}": source for path, source in files.items()}, {}, {}, out)
    return layer, out.getvalue()


def environment_layer(lock: Lock, python: str, progress: Progress) -> tuple[Layer, Path]:
    """What a lock installs, at /opt/environment: made with uv once, then kept.

    Args:
        lock: for the image's platform.
        python: the path of the image's interpreter.
    """
    mark = hashlib.sha256(f"{_FORMAT}\n{lock.digest}\n{python}".encode()).hexdigest()
    folder = cache() / "layers" / mark
    waiting = "another process is making the same layer; waiting for it"
    with exclusive(folder.with_suffix(".lock"), waiting, progress):
        if not (folder / "layer.json").exists():
            progress(f"making the image's environment of {len(lock.pins)} distributions")
            _make(lock, python, folder, progress)
    kept = json.loads((folder / "layer.json").read_text(encoding="utf-8"))
    return Layer(**kept), folder / "layer.tar.gz"


def _make(lock: Lock, python: str, folder: Path, progress: Progress) -> None:
    """Beside its place, then renamed: an interrupted attempt leaves nothing that looks complete."""
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent) as name:
        made, packages = Path(name) / "layer", Path(name) / "packages"
        made.mkdir()
        install(lock, packages, progress)
        inside = f"{ENVIRONMENT}/lib/python{lock.python}/site-packages"
        files = {
            f"{inside}/{path}": source
            for path, source in _files(packages)
            # Scripts hold the path of an interpreter here, and a lock file means nothing there.
            if path.split("/")[0] not in ("bin", ".lock") and not path.endswith(".pyc")
        }
        home = str(Path(python).parent)
        settings = f"home = {home}\ninclude-system-site-packages = false\nversion = {lock.python}\n"
        texts = {f"{ENVIRONMENT}/pyvenv.cfg": settings.encode()}
        with (made / "layer.tar.gz").open("wb") as out:
            layer = _write(files, texts, {f"{ENVIRONMENT}/bin/python": python}, out)
        (made / "layer.json").write_text(json.dumps(asdict(layer)), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


class _Hashed(io.RawIOBase):
    """Passes bytes on and remembers their digest."""

    def __init__(self, out: io.BufferedIOBase | gzip.GzipFile) -> None:
        self.sum, self.size, self._out = hashlib.sha256(), 0, out

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.sum.update(data)
        self.size += len(data)
        self._out.write(data)
        return len(data)


def _write(
    files: Mapping[str, Path], texts: Mapping[str, bytes], links: Mapping[str, str], out: io.BufferedIOBase
) -> Layer:
    packed = _Hashed(out)
    with gzip.GzipFile("", "wb", _LEVEL, packed, mtime=0) as zipped:
        plain = _Hashed(zipped)
        with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for folder in sorted({str(each) for path in (*files, *texts, *links) for each in _parents(path)}):
                entry = _entry(folder, 0o755)
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            for path in sorted((*files, *texts, *links)):
                if path in links:
                    entry = _entry(path, 0o777)
                    entry.type, entry.linkname = tarfile.SYMTYPE, links[path]
                    archive.addfile(entry)
                    continue
                executable = path in files and bool(files[path].stat().st_mode & 0o100)
                content = texts[path] if path in texts else files[path].read_bytes()
                entry = _entry(path, 0o755 if executable else 0o644)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return Layer(f"sha256:{packed.sum.hexdigest()}", f"sha256:{plain.sum.hexdigest()}", packed.size)


def _parents(path: str) -> list[Path]:
    return [parent for parent in Path(path).parents if str(parent) != "."]


def _entry(path: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.mode, entry.mtime = mode, _DATE
    return entry
