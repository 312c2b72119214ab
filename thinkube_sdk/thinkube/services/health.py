"""What is connected, where, and why: all services probed at once."""

from __future__ import annotations

import html
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from thinkube.model.errors import ConfigurationError, ServiceNotFound
from thinkube.services.discovery import find
from thinkube.services.probe import probe
from thinkube.services.table import SERVICES

if TYPE_CHECKING:
    from rich.console import Group

Health = Literal["up", "refused", "down", "not found", "misconfigured"]

_STYLES: dict[Health, str] = {
    "up": "green",
    "refused": "red",
    "down": "red",
    "not found": "dim",
    "misconfigured": "red",
}
_COLUMNS = ("service", "url", "health", "latency", "version")


@dataclass(frozen=True)
class Row:
    """One service.

    Attributes:
        service: its name in the service table.
        title: as a person calls it.
        url: where it is, or empty.
        health: whether it works with the credential found beside the URL.
        latency: milliseconds until it answered, or None.
        source: where URL and credential were found.
        detail: what is wrong, in words.
        version: the service's own, where it tells.
        ahead: seconds its clock is ahead of ours, where it tells the time.
    """

    service: str
    title: str
    url: str
    health: Health
    latency: float | None
    source: str
    detail: str = ""
    version: str = ""
    ahead: float | None = None


@dataclass(frozen=True)
class Status:
    """All services. Shows itself as a table in a terminal and in a notebook.

    Example:
        status = tk.status()
        assert status["mlflow"].health == "up"
    """

    rows: tuple[Row, ...]

    @property
    def healthy(self) -> bool:
        """Whether every service that is known answers and takes its credential."""
        return all(row.health in ("up", "not found") for row in self.rows)

    def __getitem__(self, service: str) -> Row:
        return next(row for row in self.rows if row.service == service)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {"healthy": self.healthy, "services": [asdict(row) for row in self.rows]}

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for column in _COLUMNS:
            # What doesn't fit goes on in the next line: a URL is there to be copied.
            table.add_column(column, no_wrap=column in ("health", "latency"), overflow="fold")
        for row in self.rows:
            service, url, health, latency, version = _cells(row)
            table.add_row(service, url, Text(health, _STYLES[row.health]), latency, version)
        return Group(table, *(Text(line, overflow="fold") for line in self._notes()))

    def _repr_html_(self) -> str:
        columns = (*_COLUMNS, "found through", "")
        head = "".join(f"<th style='text-align:left'>{column}</th>" for column in columns)
        body = "".join(
            "<tr>"
            + "".join(
                f"<td style='text-align:left'>{html.escape(cell)}</td>"
                for cell in (*_cells(row), row.source, "" if row.health == "not found" else row.detail)
            )
            + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        rows = [_COLUMNS, *(_cells(row) for row in self.rows)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        table = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join([*table, *self._notes()])

    def _notes(self) -> list[str]:
        """What is wrong, and each source once: beside the URLs they would leave no room for these."""
        notes = [
            f"{row.title}: {row.detail}"
            for row in self.rows
            if row.detail and row.health not in ("up", "not found")
        ]
        sources: dict[str, list[str]] = {}
        for row in self.rows:
            if row.source:
                sources.setdefault(row.source, []).append(row.title)
        if len(sources) == 1:
            return [*notes, f"Found through {next(iter(sources))}."]
        return [
            *notes,
            *(f"{', '.join(titles)}: found through {source}." for source, titles in sources.items()),
        ]


def status(timeout: float = 2.0) -> Status:
    """Probe every service at once.

    Args:
        timeout: seconds a service has to answer.

    Example:
        tk.status()
    """
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        return Status(tuple(pool.map(lambda name: _row(name, timeout), SERVICES)))


def _row(service: str, timeout: float) -> Row:
    title = SERVICES[service].title
    try:
        endpoint = find(service)
    except ServiceNotFound as error:
        return Row(service, title, "", "not found", None, "", error.cause)
    except ConfigurationError as error:
        return Row(service, title, "", "misconfigured", None, "", str(error))
    finding = probe(endpoint, timeout, version=True)
    return Row(
        service,
        title,
        endpoint.url,
        finding.health,
        None if finding.health == "down" else round(finding.milliseconds, 1),
        endpoint.source,
        finding.detail,
        finding.version,
        finding.ahead,
    )


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    service = row.title if row.title.lower() == row.service else f"{row.title} ({row.service})"
    latency = "" if row.latency is None else f"{row.latency:.0f} ms"
    return service, row.url, row.health, latency, row.version
