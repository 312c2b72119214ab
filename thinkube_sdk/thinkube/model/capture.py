"""The code one object needs, taken out of a notebook, module or kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Origin:
    """Where a line of source came from.

    Attributes:
        cell: the cell's name as a person would say it: `cell 3`, `In [7]`, or a file's path.
        line: 1-based line within that cell or file.
    """

    cell: str
    line: int

    def __str__(self) -> str:
        return f"{self.cell}, line {self.line}"


@dataclass(frozen=True)
class Decision:
    """What became of one statement, and why.

    Attributes:
        origin: its first line.
        text: the statement's first line of source, without indentation.
        verdict: `kept` ships, `dropped` does not, `required` turned into something the deployment
            supplies (a secret, a requirement), `noted` ships or not as said in `reason` and
            deserves a look.
        reason: one clause in plain words: "binds `retrieve`, which `agent` needs".
    """

    origin: Origin
    text: str
    verdict: Literal["kept", "dropped", "required", "noted"]
    reason: str


@dataclass(frozen=True)
class CapturedFile:
    """A file that ships beside the source: a local module, a `%%writefile`, data that is read.

    Attributes:
        path: relative to the folder the source stands in, with forward slashes.
        content: its bytes at the moment of capture.
        reason: why it ships.
    """

    path: str
    content: bytes = field(repr=False)
    reason: str


@dataclass(frozen=True)
class Capture:
    """Ordered source of one object and everything that has to go with it.

    Attributes:
        name: the variable that holds the object.
        module: the name of the module the source is written as, without `.py`.
        source: the module's text.
        origins: for each line of `source`, where it came from; None for lines we wrote ourselves.
        imports: top-level names of every module that `source` or a shipped local module imports and
            that is neither in the standard library nor shipped.
        requirements: what the notebook itself asked pip for, as requirement strings.
        services: Thinkube services the source uses, by their names in the service table.
        secrets: names of the secrets the source reads.
        files: what ships beside the source.
        report: a decision for each statement looked at, in the notebook's order.
        notebook: the notebook's or module's file name, or None for a kernel that doesn't know it.
    """

    name: str
    module: str
    source: str
    origins: tuple[Origin | None, ...] = field(repr=False)
    imports: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    files: tuple[CapturedFile, ...] = ()
    report: tuple[Decision, ...] = field(default=(), repr=False)
    notebook: str | None = None

    @property
    def entrypoint(self) -> str:
        """The object's address in the bundle, as `module:name`."""
        return f"{self.module}:{self.name}"
