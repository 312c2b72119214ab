"""The usual troubles: each check says what it saw, what that leads to, and the way out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from thinkube.model.errors import ConfigurationError, ServiceError
from thinkube.services import contexts, machine, secrets, state
from thinkube.services.discovery import find
from thinkube.services.health import Row, Status, status
from thinkube.services.machine import Finding, listens
from thinkube.services.probe import rejected, unreachable

# Signed requests and certificates allow for minutes; half a minute already puts traces out of order.
_SECONDS_AHEAD = 30


@dataclass(frozen=True)
class Diagnosis:
    """All findings."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether no check found a problem."""
        return all(each.verdict != "problem" for each in self.findings)

    def of(self, check: str) -> tuple[Finding, ...]:
        """The findings of one check."""
        return tuple(each for each in self.findings if each.check == check)

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {"healthy": self.healthy, "findings": [asdict(each) for each in self.findings]}


def doctor() -> Diagnosis:
    """Run every check.

    Example:
        assert doctor().healthy
    """
    local: tuple[Callable[[], list[Finding]], ...] = (
        machine.python,
        machine.proxy,
        machine.disk,
        machine.gpu,
        settings,
        stack,
    )
    with ThreadPoolExecutor(len(local) + 1) as pool:
        connected = pool.submit(status)
        findings = [finding for found in pool.map(lambda check: check(), local) for finding in found]
    rows = connected.result()
    return Diagnosis((*findings, *services(rows), *versions(rows), *clock(rows)))


def settings() -> list[Finding]:
    """The files a user writes: contexts and secrets."""
    findings = []
    for read in (contexts.current, secrets.stored):
        try:
            read()
        except ConfigurationError as error:
            findings.append(Finding("settings", "problem", error.cause, error.fix))
    return findings or [Finding("settings", "ok", f"The context {contexts.current().name} holds.")]


def stack() -> list[Finding]:
    """The local stack's state: readable, of a stack that runs, its ports its own."""
    try:
        current = state.read()
    except ConfigurationError as error:
        return [Finding("stack", "problem", error.cause, error.fix)]
    if current is None:
        return [Finding("stack", "ok", "The stack was never started here.")]
    if state.supervised():
        broken = [
            Finding("stack", "problem", f"{each.title} failed: {each.detail}", f"See {each.log}.")
            for each in current.services.values()
            if each.stage == "failed"
        ]
        return broken or [Finding("stack", "ok", "The stack runs.")]
    findings = []
    if current.supervisor:
        findings.append(
            Finding(
                "stack",
                "problem",
                f"{state.state_file()} is stale: it tells of a stack whose supervisor (process "
                f"{current.supervisor}) ended without stopping it.",
                "Start it again with `thinkube up`, or clear up with `thinkube down`. No data is lost.",
            )
        )
    for each in current.services.values():
        host, _, port = each.url.rpartition("//")[2].partition(":")
        if port.isdigit() and listens(host, int(port)):
            findings.append(
                Finding(
                    "stack",
                    "problem",
                    f"Port {port}, which {each.title} keeps between starts, is taken by another program.",
                    f"End that program (`lsof -i :{port}` names it). Otherwise `thinkube up` takes another, "
                    "which notebooks that still hold the old address don't know.",
                )
            )
    return findings or [Finding("stack", "ok", "The stack is stopped. `thinkube up` starts it.")]


def services(rows: Status) -> list[Finding]:
    """Every service that is known answers and takes its credential."""
    findings = [finding for row in rows if (finding := _service(row))]
    known = [row.title for row in rows if row.health == "up"]
    told = f"{', '.join(known)} answer." if known else "No service is known here."
    return findings or [Finding("services", "ok", told, "" if known else "Start them with `thinkube up`.")]


def _service(row: Row) -> Finding | None:
    if row.health in ("up", "not found"):
        return None
    if row.health == "misconfigured":
        cause, _, fix = row.detail.partition("\n")
        return Finding("services", "problem", cause, fix)
    try:
        endpoint = find(row.service)
    except ServiceError:
        return None  # it went away between two looks
    error = rejected(endpoint) if row.health == "refused" else unreachable(endpoint, row.detail)
    return Finding("services", "problem", error.cause, error.fix)


def versions(rows: Status) -> list[Finding]:
    """Client and server of each service go together."""
    findings = []
    for service, distribution in (
        ("mlflow", "mlflow"),
        ("qdrant", "qdrant-client"),
        ("langfuse", "langfuse"),
    ):
        row = rows[service]
        try:
            client = version(distribution)
        except PackageNotFoundError:
            continue
        if service == "langfuse" and row.url == rows["mlflow"].url:
            continue  # MLflow keeps the traces
        if row.version and (why := _conflict(service, client, row.version)):
            findings.append(
                Finding(
                    "versions",
                    "problem",
                    f"{row.title} at {row.url} is version {row.version}, its client here {client}: {why}.",
                    f"Install a client that fits, such as `pip install '{distribution}=={_fitting(row)}'`, "
                    "or update the server.",
                )
            )
    return findings or [Finding("versions", "ok", "Clients and servers go together.")]


def _conflict(service: str, client: str, server: str) -> str:
    """Each project's own rule."""
    (ours, our_minor), (theirs, their_minor) = _numbers(client), _numbers(server)
    if service == "langfuse":
        # From version 3 on the SDK writes OpenTelemetry, which older servers don't take.
        return "this client needs a server of version 3 or later" if ours >= 3 > theirs else ""
    if ours != theirs:
        return "they talk to each other only within one major version"
    # qdrant_client.common.version_check
    if service == "qdrant" and abs(our_minor - their_minor) > 1:
        return "they may be one minor version apart"
    return ""


def _fitting(row: Row) -> str:
    major, minor = _numbers(row.version)
    return (
        f"{major}.*"
        if row.service == "mlflow"
        else "2.*"
        if row.service == "langfuse"
        else f"{major}.{minor}.*"
    )


def _numbers(text: str) -> tuple[int, int]:
    from packaging.version import Version

    release = (*Version(text).release, 0)
    return release[0], release[1]


def clock(rows: Status) -> list[Finding]:
    """Our clock and the services' agree."""
    findings = [
        Finding(
            "clock",
            "problem",
            f"The clock of {row.title} at {row.url} is {abs(row.ahead):.0f} s "
            f"{'ahead of' if row.ahead > 0 else 'behind'} this machine's: signatures and tokens are refused, "
            "traces come out of order.",
            "Set this machine's clock (`sudo timedatectl set-ntp true`), or the server's.",
        )
        for row in rows
        if row.ahead is not None and abs(row.ahead) > _SECONDS_AHEAD
    ]
    told = any(row.ahead is not None for row in rows)
    return findings or [
        Finding(
            "clock", "ok", "The services' clocks agree with ours." if told else "No service tells the time."
        )
    ]
