"""What can't be captured, said with the way out."""

from __future__ import annotations

import ast
import difflib
import re
from pathlib import Path
from types import FunctionType, ModuleType

from thinkube.capture.chance import calls_something
from thinkube.capture.machine import HISTORY
from thinkube.capture.needs import Selection
from thinkube.capture.reading import Reading
from thinkube.capture.stale import refuse_edited_script
from thinkube.capture.trace import Trace
from thinkube.model.capture import Origin
from thinkube.model.errors import ObjectNotFound, SourceRefused


def refuse(reading: Reading, selection: Selection, name: str, trace: Trace) -> None:
    """Raise the first reason why the object can't be captured, if there is one."""
    if name in selection.missing:
        _refuse_object(reading, name, trace)
    _refuse_missing_file(reading, selection, name, trace)
    if trace.live is not None:
        _refuse_edited(reading, selection, trace.live.namespace)
        _refuse_before_reload(reading, selection, name)
    for index in sorted(selection.kept):
        statement, record = reading.statements[index], reading.records[index]
        where = Origin(statement.block.name, statement.start)
        if statement.guarded in {"KeyboardInterrupt", "SystemExit"}:
            raise SourceRefused(
                f"`{name}` needs what {where} did before {statement.guarded} ended it, which can't be "
                f"repeated exactly: "
                f"{statement.text[:100]}",
                "Run the cell to its end, or keep the value: freeze=[…].",
            )
        loose = sorted(record.loose - reading.machine.seeded - {"torch"})
        if trace.live is not None and loose and statement.pragma != "keep":
            names = _variables([*record.binds, *record.reads], trace.live.namespace) or ["…"]
            raise SourceRefused(
                f"`{name}` needs {where}, which draws random numbers from `{loose[0]}` without a seed: "
                f"run again, it gives another value than the live one: {statement.text[:80]}",
                f"Keep the live value with freeze={names[:1]!r}, set a seed, or add `# thinkube: keep`.",
            )
        if record.background and statement.pragma != "keep":
            raise SourceRefused(
                f"`{name}` needs {where}, which calls `{record.background}`: the task runs in the notebook's "
                f"event loop, beside the cells, so what it did by now can't be repeated: "
                f"{statement.text[:80]}",
                "Await the coroutine itself: value = await f().",
            )
        for prompt in record.prompts:
            if prompt.kind == "input":
                raise SourceRefused(
                    f"`{name}` needs a value typed into `input()`: {where}: {statement.text[:100]}",
                    'Write the value into the cell, or read it with tk.secret("NAME") or os.environ["NAME"].',
                )
    for index, what in selection.dynamic.items():
        statement = reading.statements[index]
        if selection.missing:
            raise SourceRefused(
                f"`{name}` needs {statement.block.name}, line {statement.start}, which {what}: "
                f"{statement.text[:100]}",
                "Write the code out in a cell.",
            )
    for missing, (index, needer) in selection.missing.items():
        if missing != "display":
            _refuse_missing(reading, name, missing, index, needer, trace)


def _refuse_missing_file(reading: Reading, selection: Selection, name: str, trace: Trace) -> None:
    """A file that the source reads when it is imported, and that nothing here could have made."""
    if any(
        note.reason == "a shell command" or "outside the notebook" in note.reason for _, note in reading.notes
    ):
        return
    if any("os.chdir" in reading.records[index].always for index in selection.kept):
        return
    machine = reading.machine
    for index in sorted(selection.kept):
        if reading.records[index].always == "sets up the process with `os.chdir`":
            return
        for path in reading.records[index].opens:
            clean = path.removeprefix("./")
            known = machine.files.get(clean)
            made = clean in reading.written or (known is not None and known.changes)
            if made or Path(path).is_absolute() or ".." in Path(path).parts or path.startswith("~"):
                continue
            if not (trace.folder / clean).exists() and reading.statements[index].guarded is None:
                statement = reading.statements[index]
                raise SourceRefused(
                    f"`{name}` needs {statement.block.name}, line {statement.start}, which reads `{path}`, "
                    f"and there is no such file in {trace.folder}.",
                    "Put the file beside the notebook, or write it in a cell.",
                )


def _variables(names: list[str], namespace: dict[str, object]) -> list[str]:
    """Those of the names that hold data."""
    return [n for n in names if n in namespace and not isinstance(namespace[n], (ModuleType, FunctionType))]


def _refuse_edited(reading: Reading, selection: Selection, namespace: dict[str, object]) -> None:
    """Scripts that `%run` ran and that say something else by now."""
    kept = {reading.statements[index].block.name for index in selection.kept}
    for name, path in reading.ran:
        if name in kept:
            own = {
                bound
                for bound, found in reading.machine.bindings.items()
                if all(reading.statements[binding.index].block.name == name for binding in found)
            }
            refuse_edited_script(path, namespace, own)


def _refuse_before_reload(reading: Reading, selection: Selection, name: str) -> None:
    """Values that the old text of a module made, before the module was loaded again."""
    is_local = reading.machine.is_local
    last = {module: r.index for r in reading.records for module in r.reloads if is_local(module)}
    for index in sorted(selection.kept) if last else ():
        statement, record = reading.statements[index], reading.records[index]
        if statement.pragma == "keep" or record.reloads or not calls_something(statement.node):
            continue
        used = {
            value.name.partition(".")[0]
            for read in record.reads
            for binding in reading.machine.bindings.get(read, ())
            if binding.index < index
            for value in binding.values
            if value.kind == "import"
        }
        for module in sorted(used):
            if index < last.get(module, -1):
                raise SourceRefused(
                    f"`{name}` needs {Origin(statement.block.name, statement.start)}, which ran before "
                    f"`{module}` was reloaded, so its value may come from the old text of {module}.py: "
                    f"{statement.text[:80]}",
                    "Run that cell again, keep its value with freeze=[…], or add `# thinkube: keep`.",
                )


def _refuse_object(reading: Reading, name: str, trace: Trace) -> None:
    for unreadable in reading.unreadable:
        if _mentions(unreadable.text, name):
            raise SourceRefused(
                f"{unreadable.cell.name} would bind `{name}`, and it is not valid Python: line "
                f"{unreadable.line}: "
                f"{unreadable.message}.",
                "Correct the cell and run it.",
            )
    for statement, error in reading.stopped:
        if name in {part.id for part in ast.walk(statement.node) if isinstance(part, ast.Name)} or _mentions(
            "\n".join(statement.block.lines[statement.start - 1 :]), name
        ):
            raise SourceRefused(
                f"{statement.block.name} would bind `{name}`, and it stopped with {error} at line "
                f"{statement.start}.",
                "Run the cell to its end.",
            )
    gone = [binding for binding in reading.machine.bindings.get(name, ()) if binding.deleted]
    if gone and 0 <= gone[-1].index < len(reading.statements):
        statement = reading.statements[gone[-1].index]
        raise ObjectNotFound(
            f"`{name}` is deleted again by {statement.block.name}, line {statement.start}: "
            f"{statement.text[:80]}",
            "Take that statement out, or mark it `# thinkube: skip`.",
        )
    bound = [n for n in reading.machine.bindings if not n.startswith("_")]
    close = difflib.get_close_matches(name, bound, 3, 0.6)
    hint = (
        f"Did you mean {' or '.join(f'`{c}`' for c in close)}?"
        if close
        else (f"It binds: {', '.join(bound[-12:])}." if bound else "It binds no name at all.")
    )
    raise ObjectNotFound(f"No statement of {trace.notebook or 'this notebook'} binds `{name}`.", hint)


def _mentions(text: str, name: str) -> bool:
    return bool(
        re.search(
            rf"(?m)^\s*(?:def|class|async def)\s+{re.escape(name)}\b|"
            rf"(?<![\w.]){re.escape(name)}\s*(?:,[^=\n]*)?=(?!=)|"
            rf"\bas\s+{re.escape(name)}\b|import\b.*\b{re.escape(name)}\b",
            text,
        )
    )


def _refuse_missing(reading: Reading, name: str, missing: str, index: int, needer: str, trace: Trace) -> None:
    place = ""
    if 0 <= index < len(reading.statements):
        statement = reading.statements[index]
        place = f" ({statement.block.name}, line {statement.start})"
    if missing == "get_ipython":
        raise SourceRefused(
            f"{needer}{place}, which `{name}` needs, uses IPython itself: a shell command, a magic or "
            f"`get_ipython()`.",
            "Do it in plain Python: subprocess.run([...]) for a command, or write the value into the cell.",
        )
    if missing in HISTORY or re.fullmatch(r"_i?\d+", missing):
        raise SourceRefused(
            f"{needer}{place}, which `{name}` needs, uses the notebook's history `{missing}`.",
            "Give the value a name in the cell that made it.",
        )
    for unreadable in reading.unreadable:
        if _mentions(unreadable.text, missing):
            raise SourceRefused(
                f"{needer} needs `{missing}`, and {unreadable.cell.name}, which would bind it, is not valid "
                f"Python: "
                f"line {unreadable.line}: {unreadable.message}.",
                "Correct the cell.",
            )
    for stopped, error in reading.stopped:
        if _mentions("\n".join(stopped.block.lines[stopped.start - 1 :]), missing):
            raise SourceRefused(
                f"{needer} needs `{missing}`, and {stopped.block.name} stopped with {error} at line "
                f"{stopped.start}, "
                "before it was bound.",
                "Run the cell to its end.",
            )
    deleted = missing in reading.machine.bindings
    live = trace.live is not None and missing in trace.live.namespace
    cause = f"{needer}{place}, which `{name}` needs, uses `{missing}`, which no cell binds"
    if deleted:
        cause = f"{needer}{place}, which `{name}` needs, uses `{missing}`, which is not bound at that point"
    elif live:
        cause += "; it exists in this kernel, and nothing in the history made it"
    fix = f"Bind `{missing}` in a cell" + (f', or keep its value: freeze=["{missing}"].' if live else ".")
    raise SourceRefused(cause + ".", fix)
