"""The distributions a capture needs, pinned to what the notebook runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256


@dataclass(frozen=True)
class Wheel:
    """A distribution no index has (editable, local, from git), carried as a wheel.

    Attributes:
        filename: a valid wheel file name.
        content: the wheel's bytes; the same installation gives the same bytes.
        reason: why it is carried, for people: "editable install of /home/ada/project".
    """

    filename: str
    content: bytes = field(repr=False)
    reason: str = ""

    @property
    def digest(self) -> str:
        return sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Pin:
    """One distribution at one version. With `wheel`, it is installed from the bundle, not an index."""

    name: str
    version: str
    wheel: Wheel | None = None


@dataclass(frozen=True)
class Lock:
    """Pinned distributions, closed over installed metadata.

    Attributes:
        python: the interpreter's version as `major.minor`.
        platform: the system and machine the metadata was read on, such as `linux-x86_64`.
        pins: sorted by name.
        notes: what a reader should know of it: left out, or other than the notebook asked for.
        roots: the requirements the closure began with.
        absent: distributions that are asked for and were not needed: not installed here, or for packaging.
    """

    python: str
    platform: str
    pins: tuple[Pin, ...]
    notes: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    def requirements(self, wheels: str = "wheels") -> str:
        """The text of `requirements.txt`: a pin a line, carried wheels by relative path, no hosts."""
        return "".join(
            f"./{wheels}/{pin.wheel.filename}\n" if pin.wheel else f"{pin.name}=={pin.version}\n"
            for pin in self.pins
        )

    @property
    def digest(self) -> str:
        """Names one environment: equal digests mean interchangeable environments."""
        text = f"python={self.python}\nplatform={self.platform}\n"
        for pin in self.pins:
            text += f"{pin.name}=={pin.version} {pin.wheel.digest if pin.wheel else ''}\n"
        return sha256(text.encode()).hexdigest()
