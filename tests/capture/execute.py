"""Runs in a process of its own: executes notebooks live, or modules as captured, each in a fork.

Reads a JSON list of jobs from standard input and writes one JSON line a job.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

TIME = 30


def main() -> None:
    """Fork once a job, so that no job sees what another did."""
    jobs = json.load(sys.stdin)
    if any(job["kind"] == "live" for job in jobs):
        from IPython.core.interactiveshell import InteractiveShell

        assert InteractiveShell is not None
    texts = json.dumps(jobs)
    for module in (
        "numpy",
        "pandas",
        "qdrant_client",
        "mlflow",
        "langgraph.graph",
        "langchain_openai",
        "pydantic",
    ):
        if module.partition(".")[0] in texts:
            __import__(module)
    for job in jobs:
        print(json.dumps(fork(job)), flush=True)


def fork(job: dict[str, Any]) -> dict[str, Any]:
    """Run one job in a child."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        import signal

        signal.alarm(TIME)
        os.close(read)
        try:
            answer = {"live": live, "captured": captured}[job["kind"]](job)
        except BaseException:  # noqa: BLE001 - the child's boundary: shown by the test
            answer = {"failure": traceback.format_exc()[-2000:]}
        with os.fdopen(write, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return (
        json.loads(text) if text else {"failure": f"ended without an answer (more than {TIME} s, or a crash)"}
    )


def _answers(asks: list[str], namespace: dict[str, Any]) -> list[str]:
    found = []
    for ask in asks:
        try:
            found.append(repr(eval(ask, namespace)))
        except Exception as error:  # noqa: BLE001 - what the object raises is its behaviour
            found.append(f"raises {type(error).__name__}: {error}")
    return found


def live(job: dict[str, Any]) -> dict[str, Any]:
    """Execute a notebook in a shell, capture from file and kernel, and ask the live object."""
    from IPython.core.interactiveshell import InteractiveShell

    from thinkube.capture.kernel import capture_live
    from thinkube.capture.notebook_file import capture_notebook
    from thinkube.model.errors import ThinkubeError

    folder = Path(tempfile.mkdtemp(prefix="case-"))
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    for path, content in job["files"].items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    (folder / "notebook.ipynb").write_text(json.dumps(job["notebook"]))
    answer: dict[str, Any] = {}

    def attempt(key: str, make: Any) -> None:
        try:
            capture = make()
        except ThinkubeError as error:
            answer[key] = {"refused": str(error), "class": type(error).__name__}
        except Exception:  # noqa: BLE001 - a crash of capture is shown by the test
            answer[key] = {"crashed": traceback.format_exc()[-3000:]}
        else:
            answer[key] = {
                "source": capture.source,
                "module": capture.module,
                "files": {file.path: file.content.decode("latin-1") for file in capture.files},
                "secrets": list(capture.secrets),
                "report": [(str(d.origin), d.text, d.verdict, d.reason) for d in capture.report],
            }

    attempt("file", lambda: capture_notebook(folder / "notebook.ipynb", job["target"]))
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    cells = [cell["source"] for cell in job["notebook"]["cells"]]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        for number in job["order"] or range(1, len(cells) + 1):
            shell.run_cell(cells[number - 1], store_history=True)
    space = shell.user_ns
    if job["target"] in space:
        attempt("kernel", lambda: capture_live(space[job["target"]], shell=shell, name=job["target"]))
        namespace = {**space, "target": space[job["target"]]}
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            answer["answers"] = _answers(job["ask"], namespace)
    else:
        attempt("kernel", lambda: capture_live(None, shell=shell, name=job["target"]))
        answer["answers"] = ["unbound"]
    answer["output"] = out.getvalue()[-1500:]
    return answer


def captured(job: dict[str, Any]) -> dict[str, Any]:
    """Import a captured module and ask its object."""
    folder = Path(tempfile.mkdtemp(prefix="captured-"))
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    for name in job["secrets"]:
        os.environ.setdefault(name, "value-of-the-secret")
    for path, content in job["files"].items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content.encode("latin-1"))
    (folder / f"{job['module']}.py").write_text(job["source"])
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        module = __import__(job["module"])
        target = getattr(module, job["target"])
        answers = _answers(job["ask"], {**vars(module), "target": target})
    return {"answers": answers}


if __name__ == "__main__":
    main()
