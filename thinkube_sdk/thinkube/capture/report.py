"""What became of each statement, and why."""

from __future__ import annotations

import ast
from typing import Literal

from thinkube.capture.needs import Selection
from thinkube.capture.reading import Reading
from thinkube.model.capture import Decision, Origin


def decisions(reading: Reading, selection: Selection, name: str) -> tuple[Decision, ...]:
    """One decision for each statement and each piece of notebook syntax, in the trace's order."""
    cells = {
        cell: place for place, cell in enumerate(dict.fromkeys(s.block.name for s in reading.statements))
    }
    found: list[tuple[tuple[int, int], Decision]] = []
    noted: set[tuple[str, int]] = set()
    for origin, note in reading.notes:
        noted.add((origin.cell, origin.line))
        verdict: Literal["required", "dropped"] = (
            "required" if note.reason.startswith("asks pip for") else "dropped"
        )
        found.append(
            (
                (cells.get(origin.cell, -1), origin.line),
                Decision(origin, note.text[:100], verdict, note.reason),
            )
        )
    for unreadable in reading.unreadable:
        origin = Origin(unreadable.cell.name, unreadable.line)
        reason = f"not valid Python ({unreadable.message}), so it never ran"
        found.append(((cells.get(origin.cell, -1), origin.line), Decision(origin, "", "dropped", reason)))
    for statement in reading.statements:
        origin = Origin(statement.block.name, statement.start)
        if isinstance(statement.node, ast.Pass) and (origin.cell, origin.line) in noted:
            continue
        decision = _decide(reading, selection, statement.index, name, origin)
        found.append(((cells[origin.cell], origin.line), decision))
    return tuple(decision for _, decision in sorted(found, key=lambda pair: pair[0]))


def _decide(reading: Reading, selection: Selection, index: int, name: str, origin: Origin) -> Decision:
    statement, record = reading.statements[index], reading.records[index]
    text = statement.head or statement.text[:120]
    externals = ", ".join(dict.fromkeys(external.what for external in record.externals))
    if index in selection.kept:
        reason = selection.kept[index]
        if externals:
            reason += f"; mind that {externals} acts outside the process each time it starts"
            return Decision(origin, text, "noted", reason)
        if index in selection.unsure and reason.startswith("may change"):
            return Decision(
                origin, text, "noted", reason + ", kept because that can't be told from the source"
            )
        return Decision(origin, text, "kept", reason)
    frozen = [name for name, place in selection.loads.items() if place == index]
    if frozen:
        return Decision(
            origin, text, "kept", f"the value of {', '.join(f'`{n}`' for n in frozen)} is stored instead"
        )
    if statement.pragma == "skip":
        return Decision(origin, text, "dropped", "`# thinkube: skip`")
    if record.secrets:
        return Decision(origin, text, "required", f"the deployment supplies {', '.join(record.secrets)}")
    if record.dotenv:
        return Decision(origin, text, "required", "the deployment supplies what `.env` holds")
    if index in selection.demos:
        return Decision(origin, text, "noted", f"left out: {selection.demos[index]}")
    if externals:
        return Decision(origin, text, "noted", f"left out: {externals} acts outside the process")
    return Decision(origin, text, "dropped", _why_dropped(reading, index, name))


def _why_dropped(reading: Reading, index: int, name: str) -> str:
    node, record = reading.statements[index].node, reading.records[index]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return f"nothing that `{name}` needs uses it"
    if record.binds:
        return f"binds {', '.join(f'`{n}`' for n in list(record.binds)[:3])}, which `{name}` doesn't need"
    if record.shows:
        return "shows something"
    if isinstance(node, ast.Expr):
        return f"uses values, and changes nothing that `{name}` needs"
    return f"changes nothing that `{name}` needs"
