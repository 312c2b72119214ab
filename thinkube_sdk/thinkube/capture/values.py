"""Abstract objects: what a name can refer to, what that holds, and which statements change it."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from itertools import count

from thinkube.capture.scopes import Scope, free_names

# Gives objects a stable order, so that the same notebook is followed the same way each time.
_serials = count()


class Value:
    """One object, or all objects made at one place in the text.

    Attributes:
        kind: `import` (a module or something out of one), `function`, `class`, `instance` (of a class of
            the notebook), `container`, `text` (a known string), `opaque` (anything a library made).
        name: dotted name of an import, class or maker; the string itself for `text`.
        node: the definition, for functions and classes.
        frame: the frame a function was defined in.
        owner: the class a function is a method of.
        fields: attributes, for instances and classes of the notebook.
        holds: objects that can be reached from it.
        same: objects it may be another name for.
        changes: statements that change it, with the calls that led there.
        iterates: whether reading it uses it up.
        slots: what each place of a tuple, list or dict holds, where that is known exactly.
        inside: the object it is an unknown part of.
        remote: whether what it stands for lives outside the process.
    """

    __slots__ = (
        "caches", "changes", "fields", "frame", "free", "holds", "inside",
        "iterates", "kind", "made", "name", "node", "owner",
        "remote", "same", "serial", "slots",
    )  # fmt: skip

    def __init__(self, kind: str, name: str = "", node: ast.AST | None = None, made: int = -1) -> None:
        self.kind = kind
        self.name = name
        self.node = node
        self.made = made
        self.serial = next(_serials)
        self.frame: Frame | None = None
        self.owner: Value | None = None
        self.fields: dict[str, frozenset[Value]] = {}
        self.holds: set[Value] = set()
        self.same: set[Value] = set()
        self.changes: list[Change] = []
        self.iterates = False
        self.remote = False
        self.free: Scope | None = None
        self.inside: Value | None = None
        self.caches: bool | None = None
        self.slots: dict[object, Values] | None = None

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"

    @property
    def scope(self) -> Scope:
        """What its body looks up outside of itself, for functions."""
        if self.free is None:
            callable_node = isinstance(self.node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            self.free = free_names(self.node) if callable_node else Scope()  # type: ignore[arg-type]
        return self.free


Values = frozenset[Value]
NOTHING: Values = frozenset()


@dataclass(frozen=True)
class Call:
    """A call under way: on what, by which name, and from which other call.

    `uses` are the objects that this call and those around it merely use. Where it can't be told which of
    several objects is called, `among` has all of them.
    """

    outer: Call | None
    on: Values
    verb: str
    builds: bool
    among: Values = frozenset()
    uses: Values = field(init=False)

    def __post_init__(self) -> None:
        around = self.outer.uses if self.outer is not None else frozenset()
        object.__setattr__(self, "uses", around if self.builds else around | self.on)

    def enclosing(self) -> list[Call]:
        """This call and those around it, innermost first."""
        calls: list[Call] = []
        call: Call | None = self
        while call is not None:
            calls.append(call)
            call = call.outer
        return calls


@dataclass(frozen=True)
class Change:
    """A statement that changes an object, and the call through which it does."""

    index: int
    call: Call | None
    sure: bool


@dataclass
class Frame:
    """Local names of a function or class body that is being followed."""

    kind: str
    parent: Frame | None
    locals: dict[str, Values] = field(default_factory=dict)
    globals: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)
    returns: set[Value] = field(default_factory=set)
    function: Value | None = None
    yields: bool = False
    state: Value = field(default_factory=lambda: Value("opaque", "closure"))


@dataclass
class Binding:
    """One statement that binds a name. `strong`: it surely does, so earlier bindings are gone after it."""

    index: int
    values: Values
    strong: bool
    deleted: bool = False
    calls: tuple[Call | None, ...] = (None,)


@dataclass
class External:
    """An effect outside the process: what it is, and the statement of the block that has it."""

    what: str
    node: ast.stmt


@dataclass
class Prompt:
    """A value asked for while the notebook ran: by `input`, `getpass`, or from a notebook host's secrets."""

    kind: str
    node: ast.expr
    text: str


@dataclass
class Record:
    """What following one statement told about it.

    Attributes:
        binds: names it binds, with their objects; it surely binds `strong`, and deletes `deleted`.
        reads: names it reads, with the line.
        soft: names that a function reads which the statement may or may not call.
        bind_calls: for each name it binds, the calls through which it does.
        follows: whether it calls a function of the notebook.
        opens: files it surely reads.
        changed: objects it changes, and whether that is sure.
        externals: effects outside the process.
        secrets: variables of the environment it fills from a prompt or a placeholder.
        environment: variables of the environment it fills otherwise.
        prompts: values it asks for.
        always: why it ships whatever the object needs; empty if it doesn't; `always_calls` led there.
        dynamic: code it runs that can't be seen.
        stars: modules whose every name it imports.
        patterns: what names may look like that it binds by a text made while it runs.
        folders: calls that make a folder and fail where there is one.
        draws: random states it advances; `loose` are those it takes values from.
        hidden: names it binds by their text, which no reader of the source sees, and where to find them.
        background: what starts work in the notebook's event loop that it does not wait for.
        reloads: modules it loads again.
        awaits: whether it awaits at the notebook's own level.
    """

    index: int
    binds: dict[str, Values] = field(default_factory=dict)
    bind_calls: dict[str, list[Call | None]] = field(default_factory=dict)
    follows: bool = False
    opens: list[str] = field(default_factory=list)
    strong: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    reads: dict[str, int] = field(default_factory=dict)
    soft: dict[str, int] = field(default_factory=dict)
    changed: dict[Value, bool] = field(default_factory=dict)
    externals: list[External] = field(default_factory=list)
    patterns: list[str] = field(default_factory=list)
    folders: list[ast.Call] = field(default_factory=list)
    secrets: dict[str, None] = field(default_factory=dict)
    environment: dict[str, None] = field(default_factory=dict)
    prompts: list[Prompt] = field(default_factory=list)
    always: str = ""
    always_calls: list[Call | None] = field(default_factory=list)
    dynamic: str = ""
    stars: list[str] = field(default_factory=list)
    loose: set[str] = field(default_factory=set)
    draws: set[str] = field(default_factory=set)
    shows: bool = False
    awaits: bool = False
    background: str = ""
    reloads: set[str] = field(default_factory=set)
    dotenv: bool = False
    hints: set[str] = field(default_factory=set)
    hidden: dict[str, str] = field(default_factory=dict)
