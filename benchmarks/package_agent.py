"""What packaging an agent costs, beside MLflow's `log_model` of a trivial model and a pickled function."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 5
AGENT = """\
from langgraph.graph import START, MessagesState, StateGraph


def answer(state: MessagesState) -> dict:
    return {"messages": [("ai", "Hello")]}


builder = StateGraph(MessagesState)
builder.add_node(answer)
builder.add_edge(START, "answer")
agent = builder.compile()
"""


def cells() -> list[str]:
    """A notebook of 47 cells, of which the agent needs its own."""
    looks = [f"table_{n} = [x * {n} for x in range(100)]\nprint(table_{n}[:3])" for n in range(44)]
    return [*looks[:22], *AGENT.split("\n\n\n"), *looks[22:]]


def milliseconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    """Print medians of interleaved rounds, and how many times longer than a package each takes."""
    root = Path(tempfile.mkdtemp(prefix="thinkube-bench-"))
    os.environ.update(THINKUBE_HOME=str(root / "home"), THINKUBE_CACHE=str(root / "cache"))
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.chdir(root)
    import cloudpickle
    import mlflow
    import nbformat

    from thinkube.bundles.lock import lock
    from thinkube.bundles.package import package
    from thinkube.capture.notebook_file import capture_notebook

    notebook = root / "agent.ipynb"
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells()]), notebook
    )
    space: dict[str, object] = {}
    exec(AGENT, space)
    mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")

    class Model(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined, unused-ignore]
        def predict(self, model_input: list[str]) -> list[str]:
            return model_input

    def log_model() -> None:
        with mlflow.start_run():
            mlflow.pyfunc.log_model(name="agent", python_model=Model())

    def forget() -> None:
        shutil.rmtree(root / "cache" / "locks", ignore_errors=True)

    capture = capture_notebook(notebook, "agent")
    package(capture)
    kinds: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "package, not verified": (
            lambda: None,
            lambda: package(capture_notebook(notebook, "agent"), verify=False),
        ),
        "package, verified": (lambda: None, lambda: package(capture_notebook(notebook, "agent"))),
        "  its lock, cached": (lambda: None, lambda: lock(capture)),
        "  its lock, not cached": (forget, lambda: lock(capture)),
        "mlflow log_model": (lambda: None, log_model),
        "cloudpickle": (lambda: None, lambda: cloudpickle.dumps(space["answer"])),
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, (before, work) in kinds.items():
            before()
            times[name].append(milliseconds(work))
    base = statistics.median(times["package, not verified"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:24} {median:9.1f} ms  {median / base:7.2f} x")
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
