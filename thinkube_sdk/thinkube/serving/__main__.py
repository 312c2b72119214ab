"""`python -m thinkube.serving`: serve a bundle, or check that its entry object imports."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

REPORT_BYTES = 4096  # what Kubernetes keeps of a container's last words


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m thinkube.serving", description=__doc__)
    parser.add_argument(
        "command", nargs="?", choices=["check"], help="import the entry object and say how it went"
    )
    parser.add_argument("--bundle", type=Path, required=True, help="the folder that holds thinkube.yaml")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--socket-fd", type=int, help="a listening socket that this process inherited")
    parser.add_argument("--ready-fd", type=int, help="a pipe to say on that requests are taken")
    parser.add_argument("--go-fd", type=int, help="a pipe to read the release's version from before serving")
    parser.add_argument("--name", help="the deployment's name, if not the bundle's")
    parser.add_argument("--release", default="", help="the release's version, for traces and /readyz")
    parser.add_argument("--work", type=Path, help="a folder to copy the bundle to and run it in")
    parser.add_argument("--report", type=Path, help="a file to write why it could not start to")
    options = parser.parse_args(arguments)
    return check(options.bundle) if options.command == "check" else run(options)


def check(bundle: Path) -> int:
    """Import the entry object and print one JSON line; what the import prints goes to standard error."""
    out = os.dup(1)
    os.dup2(2, 1)
    report = _checked(bundle)
    sys.stdout.flush()
    with os.fdopen(out, "w") as line:
        line.write(json.dumps(report) + "\n")
    return 0 if report["ok"] else 1


def _checked(bundle: Path) -> dict[str, object]:
    from thinkube.model.entry import EntryFailed, load

    try:
        entry = load(bundle)
    except EntryFailed as error:
        return error.report
    from thinkube.serving.agent import Unsupported, adapt

    try:
        return {"ok": True, "kind": adapt(entry.subject).kind}
    except Unsupported as error:
        return {"ok": False, "error": "Unsupported", "message": str(error), "frames": []}


def run(options: argparse.Namespace) -> int:
    """Serve. A bundle that can't be loaded is reported on the ready pipe, in the log and by status 3."""
    from thinkube.model.entry import EntryFailed, load
    from thinkube.serving.log import configure, event

    configure()
    from thinkube.serving.start import StartFailed, prepare

    if os.getpid() == 1:  # a container's first process ignores what it does not handle
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    inherited = [fd for fd in (options.socket_fd, options.ready_fd, options.go_fd) if fd is not None]
    for descriptor in inherited:
        os.set_inheritable(descriptor, False)  # not for the agent's own children
    try:
        if options.work is not None:  # what an agent writes beside its code is not to meet a read-only image
            _copy(options.bundle, options.work)
        entry = load(options.work or options.bundle)
        candidate = prepare(entry, options.name or entry.manifest.name)
        if options.socket_fd is None:
            candidate.admit(options.host)
    except (EntryFailed, StartFailed) as error:
        event("not started", logging.ERROR, raised=error.__cause__, reason=error.report["message"])
        if options.report is not None:
            options.report.write_text(json.dumps(error.report)[:REPORT_BYTES], encoding="utf-8")
        if options.ready_fd is not None:
            from thinkube.serving.server import announce

            announce(options.ready_fd, error.report)
        return 3
    from thinkube.serving.server import announce, serve

    for note in candidate.notes:
        event(note)
    release = options.release
    if options.go_fd is not None:
        report = {"ok": True, "kind": candidate.agent.kind, "notes": list(candidate.notes)}
        announce(options.ready_fd, report)
        with os.fdopen(options.go_fd) as word:
            release = word.readline().strip()
        if not release:
            return 0  # another release was chosen, or nobody waits any more
    loaded = candidate.runtime(release)
    event("started", name=loaded.name, release=loaded.release, kind=loaded.agent.kind)
    serve(
        loaded, host=options.host, port=options.port, socket_fd=options.socket_fd, ready_fd=options.ready_fd
    )
    return 0


def _copy(folder: Path, to: Path) -> None:
    """The files alone: the folder they go to may be another user's, whose times can't be set."""
    for source in sorted(folder.rglob("*")):
        target = to / source.relative_to(folder)
        if source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            shutil.copyfile(source, target)


if __name__ == "__main__":
    # Not SystemExit: an agent's stray thread must not hold up a process that has stopped serving.
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
