"""Calling functions and classes out of libraries: judged by what is known of them."""

from __future__ import annotations

import ast
import re

from thinkube.capture import signatures as known
from thinkube.capture.arguments import Arguments
from thinkube.capture.functions import Functions
from thinkube.capture.machine import library
from thinkube.capture.values import NOTHING, Value, Values

_STORE = re.compile(
    r"(?i)store|vector|index|collection|table|db|database|session|cursor|bucket|producer|repositor"
)


class Libraries(Functions):
    """Call into libraries."""

    def library_call(self, node: ast.expr, name: str, arguments: Arguments, bare: bool) -> Values:
        """Call a function or class out of a library."""
        special = self.special_call(node, name, arguments, bare)
        if special is not None:
            return special
        short = name.removeprefix("builtins.")
        effect = "pure" if short in known.HOLDING_BUILTINS else known.function_effect(short)
        effect = self.draw_by_name(name, effect, arguments)
        self.start_task(name)
        constructor = short.rpartition(".")[2][:1].isupper()
        if effect == "external":
            self.external(f"`{short}`")
        elif effect == "ambient" and short in known.FOLDERS:
            self.make_folder(node, arguments)
        elif effect == "ambient":
            self.set_up(f"sets up the process with `{short}`")
            if short.startswith(("sys.path", "site.addsitedir")):
                for text in sorted(arguments.texts):
                    self.search_path(text)
        elif effect == "first" and (arguments.positional or arguments.named):
            first = arguments.positional[0] if arguments.positional else next(iter(arguments.named.values()))
            self.change(first, deep=short.startswith("unsloth."))
            for value in first:
                value.holds |= arguments.solid - {value}
        elif effect == "unknown" and bare and not (self.shown and not constructor):
            self.change(v for v in arguments.solid if v.kind not in {"function", "class", "import"})
            if library(name).partition(".")[0] not in known.STATELESS:
                self.change((self.imported(library(name)),), sure=False)
        handed_on = short in known.PURE_BUILTINS or short in known.HOLDING_BUILTINS
        # `tk.deploy(agent)` takes the source of what it is given; it calls nothing here.
        if not constructor and not handed_on and not name.startswith("thinkube."):
            self.run_callbacks(arguments.solid, arguments.solid)
        for key in {"out", "file"} & arguments.named.keys():
            self.change(arguments.named[key])
        if short in known.OPENERS and not self.assumed and arguments.positional:
            self.note_opened(arguments)
        if short in known.CALL_THEIR_ARGUMENT or short == "functools.reduce":
            self.run_callbacks(arguments.solid, self.parts(arguments.solid))
        iterated = self.consume(arguments.solid) if short in known.CONSUMERS and short != "next" else NOTHING
        if short == "next":
            self.change(value for value in arguments.solid if value.iterates)
        iterated |= self.builtin_hooks(short, arguments)
        if short in known.PURE_BUILTINS:
            self.record.shows = self.record.shows or short in {"print", "display"}
            return NOTHING
        result = self.library_result(node, name, short, effect, arguments, constructor)
        for made in result if iterated else ():
            made.holds |= {v for v in iterated if v.kind not in {"text", "prompt"}} - {made}
        return result | iterated if short in known.ELEMENTS else result

    def library_result(
        self, node: ast.expr, name: str, short: str, effect: str, arguments: Arguments, constructor: bool
    ) -> Values:
        """What a library call hands over."""
        made = self.make(
            node, "container" if short in known.HOLDING_BUILTINS else "opaque", arguments.solid, short
        )
        self.mark_estimator(made, name, arguments)
        if short == "memoryview":
            made.same |= arguments.solid
        if not arguments.every and not constructor and library(name) not in {"builtins", "thinkube"}:
            # What is handed out without being given anything is usually the library's own.
            made.same.add(self.imported(library(name)))
        made.iterates = short in known.ITERATORS or short.startswith("itertools.")
        if short in known.HOLDING_BUILTINS:
            made.holds |= self.parts(arguments.solid) - {made}
        made.remote = known.is_remote(name, arguments.texts) or (
            any(v.remote for v in arguments.solid) and bool(_STORE.search(short))
        )
        if effect == "unknown" and not constructor:
            made.same |= {v for v in arguments.solid if v.kind not in {"function", "class", "import"}} - {
                made
            }
        made.holds.add(self.imported(name))
        self.touch_files(made, short.rpartition(".")[2], arguments)
        if short in known.ELEMENTS:
            return self.parts(arguments.solid) | {made}
        return frozenset((made,))

    def parts(self, values: Values) -> Values:
        """What iterating or indexing these may hand over."""
        found: set[Value] = set()
        for value in values:
            if value.kind in {"text", "prompt"}:
                continue
            # What a library's object consists of is no function that was only named when making it.
            found |= (
                value.holds
                if value.kind == "container"
                else {held for held in value.holds if held.kind != "import"}
            )
            if value.kind != "container" or not value.holds:
                found.add(value)
        return frozenset(found)
