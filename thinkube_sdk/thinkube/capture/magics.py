"""Notebook syntax to Python, line for line, so that every position stays true."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from thinkube.capture.requirements import pip_requirements

# Cell magics whose body runs as ordinary code of the notebook.
_TRANSPARENT = frozenset({"time", "capture", "prun", "memit", "mprun", "lprun", "wandb", "heat", "scalene"})
_WRITES = frozenset({"writefile", "file"})

_ASSIGN = re.compile(r"^(?P<target>[\w.,\[\]'\"*() ]+?)\s*=\s*(?P<sign>[!%])(?!=)(?P<rest>.*)$", re.S)
_HELP = re.compile(r"^(\?{1,2}\s*[\w.*%]+|%{0,2}[\w.*()\[\]'\"]+\s*\?{1,2})\s*(#.*)?$")
_AUTOMAGIC = re.compile(r"^(pip|conda|uv|ls|ll|cd|pwd|cat|cp|mv|mkdir|rm|man|more)(\s+[^=(.\s].*)?$")
# Line magics that run the code after them once, in the notebook's namespace, and their options.
_RUNNING = frozenset({"time", "prun", "memit"})
_OPTIONS = re.compile(r"^(-\w+(\s*\d+)?\s+)+")
_PROMPT = re.compile(r"^(>>> ?|\.\.\. ?|In \[\d+\]: ?|\s*\.\.\.+: ?)")


@dataclass(frozen=True)
class Note:
    """A piece of notebook syntax, and what became of it."""

    line: int
    text: str
    reason: str


@dataclass
class Source:
    """A cell's text as Python, and what its notebook syntax asked for.

    Attributes:
        text: Python with exactly as many lines as the cell.
        notes: one for each magic, shell line or help line.
        requirements: what pip was asked for.
        writes: path to content, for `%%writefile`.
        runs: line number to path and arguments, for `%run`.
        reset: line of a `%reset`, after which earlier names are gone.
        tree: the parsed text, where it has been parsed already.
    """

    text: str
    notes: list[Note] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)
    writes: dict[str, str] = field(default_factory=dict)
    runs: dict[int, str] = field(default_factory=dict)
    reset: int | None = None
    tree: ast.Module | None = None


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def parses(text: str) -> bool:
    """Whether `text` is Python as it stands."""
    return _parsed(text) is not None


def to_python(text: str) -> Source:
    """Turn a cell into Python with the same number of lines.

    Magics in indented blocks, after an assignment and over continued lines are understood as IPython
    understands them. A cell of another language becomes blank lines.
    """
    lines = text.split("\n")
    first = next((n for n, line in enumerate(lines) if line.strip()), None)
    if first is not None and lines[first].startswith("%%"):
        return _cell_magic(lines, first)
    tree = _parsed(text)
    return Source(text, tree=tree) if tree is not None else _lines(lines)


def _cell_magic(lines: list[str], first: int) -> Source:
    head = lines[first]
    name, _, rest = head[2:].strip().partition(" ")
    body = "\n".join(lines[first + 1 :])
    blank = "\n" * first
    if name in _TRANSPARENT:
        if first + 1 == len(lines):
            return Source(blank, [Note(first + 1, head, f"`%%{name}` is left out")])
        source = to_python(body)
        words = [word for word in rest.split() if not word.startswith("-")]
        bind = f"{words[0]} = get_ipython().run_cell_magic('capture')" if name == "capture" and words else ""
        shift = first + 1
        return Source(
            f"{blank}{bind}\n{source.text}",
            [
                Note(first + 1, head, f"`%%{name}` is left out, the code under it counts"),
                *(Note(note.line + shift, note.text, note.reason) for note in source.notes),
            ],
            source.requirements,
            source.writes,
            {line + shift: path for line, path in source.runs.items()},
            source.reset + shift if source.reset else None,
        )
    source = Source("\n" * (len(lines) - 1))
    if name in _WRITES:
        append = "-a" in rest.split()
        path = rest.replace("-a ", "").strip().strip("'\"")
        source.writes[path] = ("\0" if append else "") + (body if body.endswith("\n") else body + "\n")
        source.notes.append(Note(first + 1, head, f"writes the file `{path}`"))
    else:
        source.notes.append(Note(first + 1, head, f"`%%{name}` runs outside the notebook's namespace"))
    return source


def _lines(lines: list[str]) -> Source:
    source = Source("")
    lines = _dedent(lines)
    out: list[str] = []
    state = _Lexer()
    index = 0
    while index < len(lines):
        line = lines[index]
        if state.open:
            out.append(line)
            state.feed(line)
            index += 1
            continue
        stop = index + 1
        found = _special(line)
        if found:
            while line.endswith("\\") and stop < len(lines):
                line = line[:-1] + lines[stop]
                stop += 1
            out.append(_replace(line, index + 1, source))
            out.extend("" for _ in range(stop - index - 1))
        else:
            out.append(line)
            state.feed(line)
        index = stop
    source.text = "\n".join(out)
    return source


def _dedent(lines: list[str]) -> list[str]:
    """Strip what IPython strips: prompts, and the first line's indentation."""
    first = next((line for line in lines if line.strip()), "")
    if _PROMPT.match(first):
        return [_PROMPT.sub("", line) for line in lines]
    margin = first[: len(first) - len(first.lstrip())]
    return [line.removeprefix(margin) for line in lines] if margin else lines


def _special(line: str) -> bool:
    code = line.strip()
    if not code or code[0] in "#'\"@":
        return False
    if code[0] in "%!?" or _HELP.match(code):
        return True
    if (match := _ASSIGN.match(code)) and parses(f"{match['target']} = 0"):
        return True
    return bool(_AUTOMAGIC.match(code)) and not parses(code)


def _replace(line: str, number: int, source: Source) -> str:
    """One notebook line as one line of Python."""
    indent, code = line[: len(line) - len(line.lstrip())], line.strip()
    if (match := _ASSIGN.match(code)) and code[0] not in "%!":
        call = "getoutput" if match["sign"] == "!" else "run_line_magic"
        rest = match["rest"].strip()
        if match["sign"] == "%" and (timed := re.match(r"time(?:it)?\s+(.*)", rest)) and parses(timed[1]):
            source.notes.append(Note(number, code, "`%time` is left out, the code after it counts"))
        return f"{indent}{match['target']} = get_ipython().{call}({rest!r})"
    if code.startswith("%") and not code.endswith("?"):
        return indent + _line_magic(code, number, source)
    if _HELP.match(code) or code.startswith("?"):
        source.notes.append(Note(number, code, "asks for help"))
        return f"{indent}pass  # {code}"
    found = pip_requirements(code.lstrip("!"))
    source.requirements.extend(found)
    reason = "asks pip for " + ", ".join(found) if found else "a shell command"
    source.notes.append(Note(number, code, reason))
    return f"{indent}pass  # {_plain(code)}"


def _plain(code: str) -> str:
    return re.sub(r"\s+", " ", code)[:100]


def _line_magic(code: str, number: int, source: Source) -> str:
    name, _, rest = code.lstrip("%").partition(" ")
    rest = rest.strip()
    timed = _OPTIONS.sub("", rest)
    if name in _RUNNING and timed and parses(timed):
        source.notes.append(Note(number, code, f"`%{name}` is left out, the code after it counts"))
        return timed
    if name == "timeit" and _expression(timed):
        # How often it ran nobody knows, so nothing that it changed can be built again.
        source.notes.append(Note(number, code, "`%timeit` runs its code any number of times"))
        return f"[({timed}) for _ in get_ipython().run_line_magic('timeit')]"
    if name == "xdel" and rest.isidentifier():
        source.notes.append(Note(number, code, f"deletes `{rest}`"))
        return f"del {rest}"
    if name in {"env", "set_env"} and (match := re.match(r"(\w+)\s*[=\s]\s*(.+)$", rest)):
        source.notes.append(Note(number, code, f"sets the variable {match[1]}"))
        return f"import os; os.environ[{match[1]!r}] = {_expand(match[2])}"
    reason = f"`%{name}` is for the notebook alone"
    if name in {"pip", "conda", "uv", "mamba"}:
        found = pip_requirements(f"{name} {rest}")
        source.requirements.extend(found)
        reason = "asks pip for " + (", ".join(found) or "nothing by name")
    elif name == "run":
        words = [word for word in rest.split() if not word.startswith("-")]
        if words:
            source.runs[number] = " ".join(words)
            reason = f"runs `{words[0]}` in the notebook's namespace"
    elif name == "reset":
        source.reset = number
        reason = "forgets every name bound before"
    elif name == "cd":
        source.notes.append(Note(number, code, "changes the working folder"))
        return f"import os; os.chdir({_expand(rest)})"
    source.notes.append(Note(number, code, reason))
    return f"pass  # {_plain(code)}"


def _expression(text: str) -> bool:
    """Whether `text` is one expression."""
    tree = _parsed(text)
    return tree is not None and len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr)


def _expand(text: str) -> str:
    """A magic's argument with `$name` and `{name}` filled in, as an expression."""
    text = text.strip()
    if re.fullmatch(r"\$\w+|\{\w+\}", text):
        return f"str({text.strip('${}')})"
    if "{" in text and parses(f"f{text!r}"):
        return f"f{text!r}"
    return repr(text)


class _Lexer:
    """Knows whether the next line starts inside a string, a bracket or a continued line."""

    _TOKEN = re.compile(r"#.*|\"\"\"|'''|\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?|[()\[\]{}]|\\$", re.S)

    def __init__(self) -> None:
        self.quote = ""
        self.depth = 0
        self.continued = False

    @property
    def open(self) -> bool:
        return bool(self.quote) or self.depth > 0 or self.continued

    def feed(self, line: str) -> None:
        self.continued = False
        position = 0
        while position < len(line):
            if self.quote:
                end = line.find(self.quote, position)
                while end > 0 and line[end - 1] == "\\" and not line[:end].endswith("\\\\"):
                    end = line.find(self.quote, end + 1)
                if end < 0:
                    return
                position = end + 3
                self.quote = ""
                continue
            match = self._TOKEN.search(line, position)
            if match is None:
                return
            token, position = match[0], match.end()
            if token in {'"""', "'''"}:
                self.quote = token
            elif token in "([{":
                self.depth += 1
            elif token in ")]}":
                self.depth = max(0, self.depth - 1)
            elif token == "\\":
                self.continued = True
