"""The content store: bundles in folders by digest. Writing is atomic, reading checks the content."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from thinkube.bundles.digest import SUMS, listed, verify
from thinkube.model.bundle import Bundle
from thinkube.model.errors import BundleError
from thinkube.model.settings import home

_SCHEME = "thinkube://store/sha256/"


class Store:
    """A folder of bundles, `<root>/store/sha256/<digest>/`, that any number of processes may share.

    Args:
        root: the folder it stands in; Thinkube's home if not given.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.folder = (root or home()) / "store" / "sha256"

    def put(self, bundle: Bundle) -> str:
        """Keep a copy of a bundle.

        Returns:
            Its URI: the digest, under a scheme that says which store is meant.

        Raises:
            BundleError: the bundle's folder is not what its digest says.
        """
        self.add(bundle.path, bundle.digest)
        return uri(bundle.digest)

    def add(self, folder: Path, digest: str) -> Path:
        """Keep a copy of a sealed folder, and give the place of the copy."""
        target = self.folder / digest
        if target.exists() and not _damaged(target, digest):
            return target
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{digest[:12]}-", dir=self.folder))
        try:
            _copy(folder, scratch)
            verify(scratch, digest)
            _swap_in(scratch, target, digest)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return target

    def get(self, digest: str) -> Path:
        """The folder of a stored bundle, after a look at every byte of it.

        Raises:
            BundleError: there is none, or it was changed.
        """
        target = self.folder / digest
        if not target.is_dir():
            raise BundleError(
                f"no bundle {digest[:12]} in {self.folder}",
                "It was made under another THINKUBE_HOME or removed by `thinkube gc`; package it again.",
            )
        verify(target, digest)
        return target

    def check_out(self, digest: str, folder: Path) -> Path:
        """Copy a bundle to where it runs: an agent may write beside itself, and the store stays as it is.

        A folder that is there already is left with what was written into it.

        Raises:
            BundleError: there is none, or it was changed.
        """
        if folder.is_dir():
            return folder
        source = self.get(digest)
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _copy(source, scratch)
            _swap_in(scratch, folder, digest)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return folder

    def digests(self) -> list[str]:
        """What is stored."""
        if not self.folder.is_dir():
            return []
        return sorted(entry.name for entry in self.folder.iterdir() if not entry.name.startswith("."))


def uri(digest: str) -> str:
    """The address of a bundle in this machine's store, as a registry keeps it."""
    return f"{_SCHEME}{digest}"


def _copy(source: Path, target: Path) -> None:
    for path in (SUMS, *listed(source)):
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, copy)
    target.chmod(0o755)


def _damaged(target: Path, digest: str) -> bool:
    try:
        verify(target, digest)
    except BundleError:
        return True
    return False


def _swap_in(scratch: Path, target: Path, digest: str) -> None:
    """Put a complete folder in place. Of two writers either may win: the content is the same."""
    try:
        scratch.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        if not _damaged(target, digest):
            return
        aside = Path(tempfile.mkdtemp(prefix=".damaged-", dir=target.parent))
        target.rename(aside / "bundle")
        scratch.rename(target)
        shutil.rmtree(aside)
