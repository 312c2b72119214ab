"""`python -m thinkube.training.function`: a captured training function as a job, on a laptop and in a pod."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from thinkube.model.entry import EntryFailed, load
from thinkube.model.errors import ThinkubeError
from thinkube.model.kinds import kind_of
from thinkube.training.parameters import check
from thinkube.training.stopped import Stopped

STOPPED = 3
_CALLED = ("function", "coroutine", "callable")


def main() -> int:
    """0: the function returned. 1: it raised, or can't run. 2: the call is wrong. 3: stopped on demand."""
    parser = argparse.ArgumentParser(prog="python -m thinkube.training.function", description=__doc__)
    parser.add_argument("command", choices=["check", "run"])
    parser.add_argument("--bundle", type=Path, required=True, help="the folder that holds thinkube.yaml")
    parser.add_argument("--parameters", help="a JSON object, by the names of the signature", default="{}")
    parser.add_argument("--parameters-file", type=Path, help="the same in a file")
    parser.add_argument("--texts", action="store_true", help="every value is a text to be read by its type")
    parser.add_argument("--work", type=Path, help="where state and checkpoints are kept")
    parser.add_argument("--name", help="the job's name")
    parser.add_argument("--experiment", help="MLflow's experiment; the bundle's name by default")
    asked = parser.parse_args()
    given = asked.parameters_file.read_text(encoding="utf-8") if asked.parameters_file else asked.parameters
    parameters = json.loads(given)
    if asked.command == "check":
        return _check(asked.bundle, parameters, asked.texts)
    from thinkube.training.function_run import run

    work = (asked.work or asked.bundle.with_suffix(".run")).absolute()
    try:
        run(asked.bundle, parameters, work, asked.name or work.name, asked.experiment, texts=asked.texts)
    except ThinkubeError as error:
        print(f"Error: {error.cause}\nFix:   {error.fix}", file=sys.stderr)
        return 1
    except Stopped:
        return STOPPED
    except Exception:  # noqa: BLE001 - the user's function may raise anything; its traceback is in the log
        return 1
    return 0


def _check(bundle: Path, parameters: dict[str, Any], texts: bool) -> int:
    """Import the function, check its parameters, print one JSON line; all else goes to standard error."""
    out = os.dup(1)
    os.dup2(2, 1)
    report = _checked(bundle, parameters, texts)
    sys.stdout.flush()
    with os.fdopen(out, "w") as line:
        line.write(json.dumps(report) + "\n")
    return 0 if report["ok"] else 1


def _checked(bundle: Path, parameters: dict[str, Any], texts: bool) -> dict[str, Any]:
    try:
        entry = load(bundle)
    except EntryFailed as error:
        return error.report
    kind = kind_of(entry.subject)
    if kind not in _CALLED:
        message = f"{entry.manifest.entrypoint} is a {kind or type(entry.subject).__name__}, not a function"
        return {"ok": False, "error": "Unsupported", "message": message, "frames": []}
    try:
        return {"ok": True, "kind": kind, "parameters": check(entry.subject, parameters, texts=texts)}
    except ThinkubeError as refusal:
        return {"ok": True, "kind": kind, "refused": {"cause": refusal.cause, "fix": refusal.fix}}


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not SystemExit: a stray thread of the function must not hold up a job that is over.
    os._exit(status)
