"""`python -m thinkube.training.pods`: what a workflow's pods do around the training itself."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tarfile
from pathlib import Path

from thinkube.model.errors import ServiceError
from thinkube.training.function_tracking import close
from thinkube.training.state import ENDED, Reporter, read

PAYLOAD = "payload.tar.gz"
_MOUNT = Path("/payload")


def main() -> int:
    """Unpack what was handed over, then run what follows `--`; or note how the workflow ended."""
    parser = argparse.ArgumentParser(prog="python -m thinkube.training.pods", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    unpack = verbs.add_parser("unpack")
    unpack.add_argument("--into", type=Path, required=True)
    unpack.add_argument("--payload", type=Path, default=_MOUNT / PAYLOAD)
    unpack.add_argument("then", nargs="*")
    ended = verbs.add_parser("ended")
    ended.add_argument("--work", type=Path, required=True)
    ended.add_argument("--status", required=True, help="Argo's: Succeeded, Failed or Error")
    ended.add_argument("--failures", default="", help="Argo's list of failed nodes")
    asked = parser.parse_args()
    if asked.verb == "ended":
        return note_end(asked.work, asked.status, asked.failures)
    if asked.payload.exists():  # a later attempt finds it unpacked
        _unpack(asked.payload, asked.into)
    if asked.then:
        sys.stdout.flush()
        command = [sys.executable, *asked.then[1:]] if asked.then[0] == "python" else asked.then
        os.execv(command[0], command)
    return 0


def _unpack(payload: Path, into: Path) -> None:
    # Not `extractall(filter=…)`: Python 3.11.2, Debian's, does not have it yet.
    with tarfile.open(payload) as archive:
        for member in archive.getmembers():
            target = (into / member.name).resolve()
            if not member.isfile() or not target.is_relative_to(into.resolve()):
                raise tarfile.TarError(f"{member.name} is no plain file of the payload")
            target.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            assert content is not None
            target.write_bytes(content.read())


def note_end(work: Path, status: str, failures: str) -> int:
    """Say in state and MLflow how it ended, where the training itself could not."""
    work.mkdir(parents=True, exist_ok=True)
    state = read(work)
    if state.phase not in ENDED:
        reporter = Reporter(work)
        if "shutdown with strategy" in failures or status == "Succeeded":
            reporter.phase("finished" if status == "Succeeded" else "stopped", state.note)
        else:
            told = {
                "type": "JobFailed",
                "cause": f"A pod of the workflow ended before its work did: {_reasons(failures) or status}.",
                "fix": "See job.logs(); job.resume() goes on from the last checkpoint.",
            }
            reporter.say(error=told)
            reporter.phase("failed", told["cause"][:500])
    if run := read(work).run:
        word = {"finished": "FINISHED", "stopped": "KILLED"}.get(read(work).phase, "FAILED")
        try:
            close(run, word)
        except ServiceError as error:
            print(f"Error: {error.cause}\nFix:   {error.fix}", file=sys.stderr)
            return 1
    return 0


def _reasons(failures: str) -> str:
    """Argo's list of failed nodes, which comes as JSON in JSON, as a person reads it."""
    try:
        found = json.loads(failures)
        nodes = json.loads(found) if isinstance(found, str) else found
        told = [f"{node['displayName']}: {node['message']}" for node in nodes if node["message"]]
    except (ValueError, KeyError, TypeError):
        return failures[:2000]
    return "; ".join(told)


if __name__ == "__main__":
    sys.exit(main())
