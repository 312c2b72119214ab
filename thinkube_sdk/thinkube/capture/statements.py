"""A cell's Python as statements that know their exact place in the text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from thinkube.capture.trace import Cell

_PRAGMA = re.compile(r"#\s*thinkube:\s*(keep|skip)\b", re.I)


@dataclass
class Block:
    """A cell as the statements see it: its name and its lines of Python.

    Attributes:
        name: the cell's name.
        lines: its Python, line by line.
        cell: the execution it came from.
        fixed: numbers of lines that begin inside a string, which must never be re-indented.
        multibyte: whether byte columns differ from character columns somewhere.
    """

    name: str
    lines: list[str]
    cell: Cell
    fixed: frozenset[int] = frozenset()
    pragma: Literal["keep", "skip"] | None = None


@dataclass
class Statement:
    """One top-level statement of one execution.

    Attributes:
        index: its place in the whole trace.
        node: its syntax tree.
        block: where its text is.
        start: first line, decorators included; end: last line (both 1-based).
        above: first line of the comment that belongs to it (equal to `start` without one).
        dedent: columns to strip, where it was lifted out of a block.
        pragma: what a `# thinkube:` comment says.
        shown: the text of the value it displayed, "" for none, None where that is unknown.
    """

    index: int
    node: ast.stmt
    block: Block
    start: int
    end: int
    above: int
    dedent: int = 0
    pragma: Literal["keep", "skip"] | None = None
    shown: str | None = None
    last: bool = False
    head: str = ""
    guarded: str | None = field(default=None)

    @property
    def text(self) -> str:
        """Its first line, as a person would recognise it."""
        return self.block.lines[self.start - 1].strip() if self.start <= len(self.block.lines) else ""


def start_of(node: ast.stmt) -> int:
    """The first line of a statement, its decorators included."""
    decorators = getattr(node, "decorator_list", None)
    return min([node.lineno, *(d.lineno for d in decorators)]) if decorators else node.lineno


def string_lines(tree: ast.AST) -> frozenset[int]:
    """Numbers of the lines that begin inside a string."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Constant, ast.JoinedStr))
            and node.end_lineno
            and node.end_lineno > node.lineno
        ):
            if isinstance(node, ast.Constant) and not isinstance(node.value, (str, bytes)):
                continue
            inside.update(range(node.lineno + 1, node.end_lineno + 1))
    return frozenset(inside)


def block_of(cell: Cell, text: str, tree: ast.Module) -> Block:
    """Prepare a parsed cell for splitting."""
    lines = text.split("\n")
    first = next((line.strip() for line in lines if line.strip()), "")
    pragma = None
    if first.startswith("#") and (match := _PRAGMA.search(first)):
        pragma = "keep" if match[1].lower() == "keep" else "skip"
    fixed = string_lines(tree) if '"""' in text or "'''" in text or "\\\n" in text else frozenset()
    return Block(cell.name, lines, cell, fixed, pragma)  # type: ignore[arg-type]


def split(block: Block, body: list[ast.stmt], first_index: int, dedent: int = 0) -> Iterator[Statement]:
    """Yield the statements of `body` in order, with the comments that belong to them."""
    previous = 0
    for offset, node in enumerate(body):
        start, end = start_of(node), node.end_lineno or node.lineno
        above = start
        while above - 1 > previous and block.lines[above - 2].strip().startswith("#"):
            above -= 1
        previous = end
        yield Statement(
            index=first_index + offset,
            node=node,
            block=block,
            start=start,
            end=end,
            above=above,
            dedent=dedent,
            pragma=block.pragma or _pragma(block, above, start, end, compound=hasattr(node, "body")),
            shown=block.cell.shown,
            last=node is body[-1],
        )


def _pragma(block: Block, above: int, start: int, end: int, compound: bool) -> Literal["keep", "skip"] | None:
    lines = [*block.lines[above - 1 : start], *([] if compound else [block.lines[end - 1]])]
    for line in lines:
        if "#" in line and (match := _PRAGMA.search(line)):
            return "keep" if match[1].lower() == "keep" else "skip"
    return None
