"""A job's bar: rich in a terminal, tqdm in a notebook, nothing where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from thinkube.training.state import RunState


@contextmanager
def bar(name: str, *, shown: bool = True) -> Iterator[Callable[[RunState], None]]:
    """Show a job's state, whenever it is handed over."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if not shown:
        yield lambda _state: None
    elif shell is not None and hasattr(shell, "kernel"):
        yield from _in_notebook(name)
    elif sys.stderr.isatty():
        yield from _in_terminal(name)
    else:
        yield from _in_log()


def describe(state: RunState) -> str:
    """A state's figures in a line.

    Example:
        >>> describe(RunState(phase="training", loss=1.25, tokens_per_second=900.0, memory=2**30))
        'training  loss 1.250  900 tokens/s  1.0 GiB'
    """
    parts = [str(state.phase)]
    if state.phase == "training" and state.loss is not None:
        parts.append(f"loss {state.loss:.3f}")
        parts.append(f"{state.tokens_per_second or 0:.0f} tokens/s")
        parts.append(f"{(state.memory or 0) / 2**30:.1f} GiB")
        if state.seconds_left is not None:
            minutes, seconds = divmod(round(state.seconds_left), 60)
            parts.append(f"{minutes}:{seconds:02d} left")
    elif state.note:
        parts.append(state.note)
    return "  ".join(parts)


def _in_terminal(name: str) -> Iterator[Callable[[RunState], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None, told="")

        def show(state: RunState) -> None:
            progress.update(task, completed=state.step, total=state.steps or None, told=describe(state))

        yield show


def _in_notebook(name: str) -> Iterator[Callable[[RunState], None]]:
    from tqdm.auto import tqdm

    with tqdm(desc=name, total=None, unit="step") as line:

        def show(state: RunState) -> None:
            line.total, line.n = state.steps or None, state.step
            line.set_postfix_str(describe(state), refresh=False)
            line.refresh()

        yield show


def _in_log() -> Iterator[Callable[[RunState], None]]:
    last = ""

    def show(state: RunState) -> None:
        nonlocal last
        told = f"{state.phase}{': ' + state.note if state.note else ''}"
        if told != last:
            print(told, file=sys.stderr)
            last = told

    yield show
