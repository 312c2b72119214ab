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
    from rich.table import Table

Health = Literal["up", "refused", "down", "not found", "misconfigured"]

_STYLES: dict[Health, str] = {
    "up": "green",
    "refused": "red",
    "down": "red",
    "not found": "dim",
    "misconfigured": "red",
}
_COLUMNS = ("service", "url", "health", "latency", "source")


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
    """

    service: str
    title: str
    url: str
    health: Health
    latency: float | None
    source: str
    detail: str = ""


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

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(*_COLUMNS, box=None, pad_edge=False)
        for row in self.rows:
            service, url, health, latency, source = _cells(row)
            table.add_row(service, url, Text(health, _STYLES[row.health]), latency, source)
        return table

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:left'>{column}</th>" for column in _COLUMNS)
        body = "".join(
            "<tr>"
            + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in _cells(row))
            + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        rows = [_COLUMNS, *(_cells(row) for row in self.rows)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )


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
    finding = probe(endpoint, timeout)
    latency = None if finding.health == "down" else round(finding.milliseconds, 1)
    return Row(service, title, endpoint.url, finding.health, latency, endpoint.source, finding.detail)


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    latency = "" if row.latency is None else f"{row.latency:.0f} ms"
    health = (
        row.health if row.health in ("up", "not found") or not row.detail else f"{row.health}: {row.detail}"
    )
    return f"{row.service} ({row.title})", row.url, health, latency, row.source
