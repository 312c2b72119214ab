"""Calls with a meaning of their own: prompts, the environment, files, code made from text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from thinkube.capture import signatures as known
from thinkube.capture.arguments import Arguments
from thinkube.capture.chance import Chance
from thinkube.capture.machine import library, reach
from thinkube.capture.scopes import PATH
from thinkube.capture.slots import Slots
from thinkube.capture.values import NOTHING, Prompt, Value, Values

_WRITING = re.compile(
    r"^(to_(?!dict|list|numpy)|save|persist|dump|write|export|imwrite|savefig|savetxt|urlretrieve|download|touch|mkdir)"
)
_MODES = frozenset(m + b + p for m in "wax" for b in ("", "b", "t") for p in ("", "+")) | {
    "w+b",
    "a+b",
    "r+",
    "r+b",
    "rb+",
}
PLACEHOLDER = re.compile(
    r"(?i)^$|^[<\[{(].*[>\]})]$|your|xxx|\.\.\.|…|replace|change.?me|insert|placeholder|dummy|example|^(sk|hf|key|token|api|"
    r"lsv2|pk|tvly)[-_.]*(xx\w*|\**|key)?$|^\*+$|enter|paste|todo|fill"
)


class Special(Chance, Slots):
    """Calls that no table of effects can describe."""

    def special_call(self, node: ast.expr, name: str, arguments: Arguments, bare: bool) -> Values | None:
        """Handle a call out of a library that means more than its effect; None for all others."""
        del bare
        short = name.removeprefix("builtins.")
        if short in known.PROMPTS:
            return self.ask("input" if short == "input" else "getpass", node, arguments)
        if known.STORED_SECRETS.match(name):
            return self.ask("stored", node, arguments)
        if known.DOTENV.match(name):
            self.record.dotenv = True
            return NOTHING
        if name.startswith(("builtins.list.", "builtins.dict.", "builtins.set.", "builtins.bytearray.")):
            first = arguments.positional[0] if arguments.positional else arguments.solid
            self.change(first)
            for value in first:
                value.holds |= arguments.solid - {value}
            return arguments.solid
        if name in {"os.getenv", "os.environ.get"}:
            return self.environment_value(arguments.positional[0] if arguments.positional else NOTHING) | (
                frozenset().union(*arguments.positional[1:])
            )
        if (
            name in {"os.environ.setdefault", "os.environ.__setitem__", "os.putenv"}
            and len(arguments.positional) > 1
        ):
            self.environment_write(*arguments.positional[:2])
            return NOTHING
        if name == "builtins.globals().update":
            return self.bind_all(arguments)
        if name == "os.environ.update":
            for key, values in arguments.named.items():
                self.environment_write(self.text(key), values)
        method = _SPECIAL.get(short)
        return getattr(self, method)(node, arguments) if method else None

    def bind_all(self, arguments: Arguments) -> Values:
        """`globals().update(…)`: bind each name that is given."""
        frame, self.frame = self.frame, None
        places = [v.slots or {} for v in arguments.solid if v.kind == "container"]
        given = {key: values for each in places for key, values in each.items() if isinstance(key, str)}
        for name, values in {**given, **arguments.named}.items():
            self.bind(name, values)
            self.record.hidden[name] = f'globals()["{name}"]'
        self.frame = frame
        return NOTHING

    # Prompts and the environment.
    def ask(self, kind: str, node: ast.expr, arguments: Arguments) -> Values:
        """A value that a person typed, or that a notebook host keeps."""
        text = min(arguments.texts, default="")
        self.record.prompts.append(Prompt(kind, node, text))
        key = f"{kind}:{text}" if kind == "stored" else kind
        value = self.prompt_values.setdefault(key, Value("prompt", key))
        return frozenset((value,))

    def environment_value(self, keys: Values) -> Values:
        """A variable of the environment."""
        names = [key.name for key in keys if key.kind == "text"]
        return frozenset(
            self.prompt_values.setdefault(f"environment:{name}", Value("prompt", f"environment:{name}"))
            for name in names
        )

    def environment_write(self, keys: Values, values: Values) -> None:
        """Note what the statement puts into the environment."""
        names = [key.name for key in keys if key.kind == "text"]
        for name in names:
            sources = {value.name for value in values if value.kind == "prompt"}
            asked = any(not source.startswith("environment:") for source in sources)
            texts = [value.name for value in values if value.kind == "text"]
            secretive = bool(SECRETIVE.search(name))
            placeholder = secretive and bool(texts) and all(PLACEHOLDER.search(text) for text in texts)
            if asked or placeholder or (sources == {f"environment:{name}"}):
                self.record.secrets[name] = None
            else:
                self.record.environment[name] = None
        if not names:
            self.set_up("sets variables of the environment")

    # Attributes by name.
    def _setattr(self, _node: ast.expr, arguments: Arguments) -> Values:
        if len(arguments.positional) >= 2:
            names = [v.name for v in arguments.positional[1] if v.kind == "text"]
            values = arguments.positional[2] if len(arguments.positional) > 2 else NOTHING
            self.set_field(arguments.positional[0], names, values)
        return NOTHING

    def _setattr_raw(self, _node: ast.expr, arguments: Arguments) -> Values:
        given = arguments.positional
        if len(given) >= 2:
            names = [v.name for v in given[1] if v.kind == "text"]
            self.set_field(given[0], names, given[2] if len(given) > 2 else NOTHING, raw=True)
        return NOTHING

    def _delattr(self, _node: ast.expr, arguments: Arguments) -> Values:
        if len(arguments.positional) >= 2:
            names = [v.name for v in arguments.positional[1] if v.kind == "text"]
            self.delete_field(arguments.positional[0], names)
        return NOTHING

    def set_field(self, base: Values, names: Iterable[str], values: Values, raw: bool = False) -> None:
        """Note that an attribute of each of these objects is bound."""
        solid = values - {v for v in values if v.kind in {"text", "prompt"}}
        for value in base:
            if value.kind == "import":
                shared = self.imported(library(value.name))
                shared.holds |= solid
                if shared.name == "builtins":
                    for name in names:
                        self.record.binds[name] = values
                        self.record.hidden[name] = f'__import__("builtins").{name}'
                self.change((shared,))
                continue
            if value.kind in {"instance", "class"}:
                for name in names:
                    if raw or not self.set_attribute(value, name, values):
                        value.fields[name] = value.fields.get(name, NOTHING) | values
            value.holds |= solid - {value}
            self.change((value,))

    def set_attribute(self, value: Value, name: str, values: Values, deletes: bool = False) -> bool:
        raise NotImplementedError

    def delete_field(self, base: Values, names: Iterable[str]) -> None:
        """Note that an attribute of each of these objects is deleted."""
        for value in base:
            for name in names:
                self.set_attribute(value, name, NOTHING, deletes=True)
        self.set_field(base, [], NOTHING)

    def _getattr(self, _node: ast.expr, arguments: Arguments) -> Values:
        if not arguments.positional:
            return NOTHING
        names = (
            [v.name for v in arguments.positional[1] if v.kind == "text"]
            if len(arguments.positional) > 1
            else []
        )
        found = frozenset().union(*arguments.positional[2:])
        for name in names:
            found |= self.attribute(arguments.positional[0], name)
        if names:
            return found
        for value in arguments.positional[0]:
            owner = value.owner if value.kind == "instance" else value
            if owner is not None and owner.kind == "class":
                for name in self.member_names(owner):
                    found |= self.attribute(frozenset((value,)), name)
        return found | arguments.positional[0] | self.parts(arguments.positional[0])

    def member_names(self, owner: Value) -> set[str]:
        """Methods of a class and of those above it."""
        names = {name for name, values in owner.fields.items() if any(v.kind == "function" for v in values)}
        for base in self.bases.get(owner, ()):
            names |= self.member_names(base) if base is not owner else set()
        return {name for name in names if not name.startswith("__")}

    def _type(self, node: ast.expr, arguments: Arguments) -> Values:
        owners = {v.owner for v in arguments.solid if v.kind == "instance" and v.owner is not None}
        return frozenset(owners) or self.fresh(node, NOTHING)

    # Code made from text.
    def _exec(self, node: ast.expr, arguments: Arguments) -> Values:
        texts = [v.name for v in arguments.positional[0] if v.kind == "text"] if arguments.positional else []
        spaces = frozenset().union(*arguments.positional[1:], *arguments.named.values())
        if any(v.name != "builtins.globals()" for v in spaces):
            made = self.fresh(node, arguments.solid)
            self.change(spaces)
            for space in spaces:
                space.holds |= made
            self.run_callbacks(self.parts(spaces), self.parts(spaces))
            return made
        if not texts:
            self.record.dynamic = "runs code that is made while it runs"
            if isinstance(node, ast.Call) and node.args:
                self.record.patterns.extend(bound_patterns(node.args[0]))
        for text in texts:
            try:
                tree = ast.parse(text.strip())
            except (SyntaxError, ValueError):
                continue
            self.kept_trees.append(tree)
            frame, self.frame = self.frame, None
            before = set(self.record.binds)
            self.execute(tree.body)
            self.record.hidden.update(
                (name, f'globals()["{name}"]') for name in set(self.record.binds) - before
            )
            self.frame = frame
        return NOTHING

    def _namespace(self, _node: ast.expr, arguments: Arguments) -> Values:
        if arguments.positional:
            return arguments.positional[0]
        return frozenset((self.imported("builtins.globals()"),))

    def _from_namespace(self, node: ast.expr, arguments: Arguments) -> Values:
        names = [v.name for v in arguments.positional[0] if v.kind == "text"] if arguments.positional else []
        found = frozenset().union(*(self.lookup(name, node.lineno) for name in names if name in self.now))
        return found | arguments.solid

    def _import_module(self, node: ast.expr, arguments: Arguments) -> Values:
        names = [v.name for v in arguments.positional[0] if v.kind == "text"] if arguments.positional else []
        if not names:
            self.record.dynamic = "imports a module whose name is made while it runs"
            return self.fresh(node, NOTHING)
        return frozenset(self.imported(name) for name in names)

    def _reload(self, _node: ast.expr, arguments: Arguments) -> Values:
        for value in arguments.solid:
            if value.kind == "import":
                self.record.reloads.add(value.name.partition(".")[0])
                self.change((self.imported(library(value.name)),))
        return arguments.solid

    def _deepcopy(self, node: ast.expr, arguments: Arguments) -> Values:
        shared = {v for v in reach(arguments.solid) if v.kind in {"function", "class", "import", "method"}}
        made = self.make(node, "opaque", shared)
        for value in arguments.solid:
            if value.kind == "instance":
                made.kind, made.owner, made.fields = "instance", value.owner, dict(value.fields)
        return frozenset((made,))

    def _json_dump(self, _node: ast.expr, arguments: Arguments) -> Values:
        if len(arguments.positional) > 1:
            self.change(arguments.positional[1])
            for text in sorted(v.name for v in arguments.positional[1] if v.kind == "text"):
                self.change((self.file(text),))
        return NOTHING

    def _redirect(self, _node: ast.expr, arguments: Arguments) -> Values:
        self.change(arguments.solid)
        return NOTHING

    # Files.
    def file(self, path: str) -> Value:
        """The one object that stands for a file."""
        path = re.sub(r"^(\./)+", "", path)
        return self.files.setdefault(path, Value("file", path))

    def make_folder(self, node: ast.expr, arguments: Arguments) -> None:
        """Note that a folder is made: at the top level for whatever comes, in a function for its files."""
        if self.frame is None:
            self.set_up("makes a folder")
            if isinstance(node, ast.Call) and "exist_ok" not in arguments.named and len(node.args) < 3:
                self.record.folders.append(node)
        self.change(self.file(f"{text}/") for text in sorted(arguments.texts))

    def note_opened(self, arguments: Arguments) -> None:
        """Note the file that the statement surely reads."""
        modes = {v.name for values in arguments.positional[1:2] for v in values if v.kind == "text"}
        modes |= {v.name for v in arguments.named.get("mode", NOTHING) if v.kind == "text"}
        paths = [v.name for v in arguments.positional[0] if v.kind == "text"]
        if len(paths) == 1 and not modes & _MODES and PATH.match(paths[0]):
            self.record.opens.append(paths[0])

    def touch_files(self, used: Value, verb: str, arguments: Arguments) -> None:
        """Note the files a call with known paths reads or writes."""
        writes = bool(_WRITING.match(verb)) or (verb == "open" and bool(arguments.texts & _MODES))
        if writes:
            self.change(v for v in used.holds if v.kind == "file")
        for text in sorted(arguments.texts):
            if len(text) > 200 or not PATH.match(text):
                continue
            file = self.file(text)
            if writes:
                self.change((file,))
                file.holds.add(used)
            else:
                used.holds.add(file)


def bound_patterns(node: ast.expr, whole: bool = False) -> list[str]:
    """What the names may look like that a text with blanks binds: `f"v{i} = {i}"` binds `v…`.

    `whole`: the text is the name itself.
    """
    if not isinstance(node, ast.JoinedStr):
        return []
    text = "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
    names = r"(?m)^(?:(?:async )?def |class )?([\w\0]+)(?:\s*=(?!=)|\(|:)"
    found = [text] if whole else re.findall(names, text)
    return [re.escape(name).replace("\0", r"\w+") for name in found]


SECRETIVE = re.compile(r"(?i)(key|token|secret|password|passwd|pwd|credential|auth)s?(_|\d|$)|^(pat|pass)$")
_SPECIAL = {
    "type": "_type",
    "pickle.dump": "_json_dump",
    "joblib.dump": "_json_dump",
    "dill.dump": "_json_dump",
    "cloudpickle.dump": "_json_dump",
    "yaml.dump": "_json_dump",
    "yaml.safe_dump": "_json_dump",
    "torch.save": "_json_dump",
    "urllib.request.urlretrieve": "_json_dump",
    "contextlib.redirect_stdout": "_redirect",
    "contextlib.redirect_stderr": "_redirect",
    "setattr": "_setattr",
    "delattr": "_delattr",
    "object.__setattr__": "_setattr_raw",
    "getattr": "_getattr",
    "exec": "_exec",
    "eval": "_exec",
    "globals": "_namespace",
    "locals": "_namespace",
    "vars": "_namespace",
    "globals().get": "_from_namespace",
    "globals().__getitem__": "_from_namespace",
    "__import__": "_import_module",
    "importlib.import_module": "_import_module",
    "importlib.reload": "_reload",
    "copy.deepcopy": "_deepcopy",
    "json.dump": "_json_dump",
}
