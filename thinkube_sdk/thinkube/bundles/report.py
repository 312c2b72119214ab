"""What was kept of a notebook, what was left out, and why: for a terminal, a notebook and a program."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Any

from thinkube.model.capture import Capture

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_STYLES = {"kept": "green", "dropped": "dim", "required": "cyan", "noted": "yellow"}


class Report:
    """A view of a capture's decisions.

    Example:
        >>> Report(Capture("agent", "support", "", ())).summary
        'agent: nothing was looked at'
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    @property
    def summary(self) -> str:
        """One line: how many statements met which end."""
        counts: Counter[str] = Counter(decision.verdict for decision in self._capture.report)
        parts = [f"{counts[verdict]} {verdict}" for verdict in _STYLES if counts[verdict]]
        return f"{self._capture.name}: {', '.join(parts) or 'nothing was looked at'}"

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        capture = self._capture
        return {
            "object": capture.name,
            "notebook": capture.notebook,
            "summary": self.summary,
            "services": list(capture.services),
            "secrets": list(capture.secrets),
            "requirements": list(capture.requirements),
            "files": [{"path": file.path, "reason": file.reason} for file in capture.files],
            "decisions": [
                {
                    "cell": decision.origin.cell,
                    "line": decision.origin.line,
                    "text": decision.text,
                    "verdict": decision.verdict,
                    "reason": decision.reason,
                }
                for decision in capture.report
            ],
        }

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=110, color_system=None)
        with console.capture() as out:
            console.print(self)
        return out.get()

    __repr__ = __str__

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        table.add_column("where", no_wrap=True)
        table.add_column("statement", no_wrap=True, overflow="ellipsis", ratio=3)
        table.add_column("", no_wrap=True)
        table.add_column("why", ratio=4)
        for decision in self._capture.report:
            style = _STYLES[decision.verdict]
            # As Text: a statement may well contain what rich would read as markup.
            table.add_row(
                Text(str(decision.origin)),
                Text(decision.text, style),
                Text(decision.verdict, style),
                Text(decision.reason),
            )
        yield table
        for file in self._capture.files:
            yield Text(f"{file.path} ships: {file.reason}")
        yield Text(self.summary)

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr class="{decision.verdict}"><td>{escape(str(decision.origin))}</td>'
            f"<td><code>{escape(decision.text)}</code></td><td>{decision.verdict}</td>"
            f"<td>{escape(decision.reason)}</td></tr>"
            for decision in self._capture.report
        )
        files = "".join(
            f"<li><code>{escape(file.path)}</code> ships: {escape(file.reason)}</li>"
            for file in self._capture.files
        )
        return (
            "<style>.thinkube-report td{text-align:left;vertical-align:top}"
            ".thinkube-report .dropped{opacity:.55}</style>"
            f'<table class="thinkube-report"><thead><tr><th>where</th><th>statement</th><th></th>'
            f"<th>why</th></tr></thead><tbody>{rows}</tbody></table>"
            + (f"<ul>{files}</ul>" if files else "")
            + f"<p>{escape(self.summary)}</p>"
        )
