"""A folder's digest: over its sorted relative paths and contents, in the form `sha256sum -c` reads."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from thinkube.model.errors import BundleError

SUMS = "SHA256SUMS"


def seal(files: Mapping[str, bytes]) -> bytes:
    """The text of `SHA256SUMS` for these files, by relative path."""
    rows = [
        f"{sha256(content).hexdigest()}  {path}\n" for path, content in sorted(files.items()) if path != SUMS
    ]
    return "".join(rows).encode()


def digest_of(sums: bytes) -> str:
    """The digest of a whole bundle is that of its list of checksums."""
    return sha256(sums).hexdigest()


def listed(folder: Path) -> dict[str, str]:
    """What a folder's `SHA256SUMS` lists: relative path to checksum. Empty where there is no such file."""
    try:
        text = (folder / SUMS).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    rows = (line.partition("  ") for line in text.splitlines())
    return {path: checksum for checksum, _, path in rows}


def changed(folder: Path) -> list[str]:
    """The files of a sealed folder that are missing or no longer what the list says."""
    return [path for path, checksum in listed(folder).items() if _checksum(folder / path) != checksum]


def verify(folder: Path, digest: str) -> None:
    """Make sure that a folder holds exactly the content of that digest.

    Raises:
        BundleError: it doesn't; names the files.
    """
    sums = folder / SUMS
    if not sums.is_file() or digest_of(sums.read_bytes()) != digest:
        raise BundleError(f"{folder} is not the bundle {digest[:12]}: its {SUMS} is another", _FIX)
    if different := changed(folder):
        raise BundleError(f"{folder} was changed since it was stored: {', '.join(different[:5])}", _FIX)


_FIX = "Package or deploy it again: the same source gives the same digest, and puts the right content back."


def _checksum(path: Path) -> str | None:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
