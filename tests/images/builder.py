"""Builds and runs the repository's images with buildah, from a Debian root: no registry, no engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

DEBIAN = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Builder:
    """A buildah store of its own; everything in it goes when its folder does.

    Attributes:
        store: where images and containers are kept.
    """

    store: Path

    def build(self, dockerfile: Path, context: Path, name: str, **arguments: str) -> str:
        """Build an image and give it a name."""
        given = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        certificates = f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"
        self._buildah(
            *("bud", "--quiet", "--isolation=chroot", "--network=host", certificates, *given),
            *("--file", str(dockerfile), "--tag", f"localhost/{name}", str(context)),
        )
        return f"localhost/{name}"

    def root(self, folder: Path, name: str) -> str:
        """Make an image of a folder that holds a root file system."""
        box = self._buildah("from", "scratch")
        self._buildah("copy", "--quiet", box, str(folder), "/")
        self._buildah("commit", "--quiet", "--rm", box, f"localhost/{name}")
        return f"localhost/{name}"

    def container(self, image: str) -> str:
        """A container of an image, not started."""
        return self._buildah("from", "--pull-never", image)

    def command(self, container: str, *command: str, mounts: tuple[tuple[Path, str], ...] = ()) -> list[str]:
        """The command line that runs a command in a container, as the image's user, on the host's network."""
        volumes = [f"--volume={here}:{there}:ro" for here, there in mounts]
        return [
            *self._base(),
            "run",
            "--isolation=chroot",
            "--network=host",
            *volumes,
            container,
            "--",
            *command,
        ]

    def remove(self) -> None:
        """Remove every container and image."""
        self._buildah("rm", "--all")
        self._buildah("rmi", "--all", "--force")

    def _base(self) -> list[str]:
        layers = f"--root={self.store / 'layers'}", f"--runroot={self.store / 'run'}"
        return ["buildah", *layers, "--storage-driver=overlay"]

    def _buildah(self, *arguments: str) -> str:
        done = subprocess.run([*self._base(), *arguments], capture_output=True, text=True)
        assert done.returncode == 0, f"buildah {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()


def debian_root() -> Path:
    """A Debian root with Python, made once and kept in the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "thinkube-images"
    root = cache / f"{DEBIAN}-{PACKAGES.replace(',', '-')}"
    if not root.exists():
        partial = root.with_name(f"{root.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        command = [
            "debootstrap",
            "--variant=minbase",
            f"--include={PACKAGES}",
            DEBIAN,
            str(partial),
            _mirror(),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command[:3])} …\n{done.stdout[-2000:]}\n{done.stderr}"
        partial.rename(root)
    return root


def _mirror() -> str:
    """The archive this machine's own packages come from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    archives = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return next(archive for archive in archives if "security" not in archive)
