"""Run a notebook in front of a reader: start the services, execute cell after cell, show what comes out.

Used by `make demo`. Nothing is left running unless KEEP=1 is set.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from rich.console import Console
from rich.markdown import Markdown
from rich.panel import Panel

HERE = Path(__file__).resolve().parent
console = Console(width=100, highlight=False)


class ShownClient(NotebookClient):
    """Executes a notebook and prints what it shows as it comes."""

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        content = msg["content"]
        if msg["msg_type"] == "stream":
            console.print(
                content["text"], end="", markup=False, style="dim" if content["name"] == "stderr" else None
            )
        elif msg["msg_type"] in ("execute_result", "display_data"):
            console.print(content["data"].get("text/plain", ""), markup=False)
        return super().process_message(msg, cell, cell_index)


async def show_cell(cell: Any, cell_index: int) -> None:
    """Print a cell before it runs: prose as prose, code as code."""
    if cell.cell_type == "markdown":
        console.print()
        console.print(Markdown(cell.source))
    elif cell.source.strip():
        console.print(
            Panel(cell.source, border_style="bright_black", title=f"cell {cell_index + 1}"), markup=False
        )


def execute(path: Path) -> None:
    """Execute a notebook from top to bottom.

    Raises:
        CellExecutionError: a cell raised.
    """
    notebook = nbformat.read(path, as_version=4)
    client = ShownClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=show_cell,
    )
    client.execute()


def summarize() -> None:
    """Print what the notebook left running."""
    import thinkube as tk

    console.rule("deployed")
    for deployment in tk.deployments():
        console.print(
            f"{deployment.name} version {deployment.release.version}  {deployment.url}  {deployment.status}"
        )


def main() -> int:
    """Execute the notebook named on the command line, or the quickstart."""
    notebook = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "quickstart.ipynb"
    home = os.environ.setdefault("THINKUBE_HOME", str(HERE.parent / ".build" / "demo"))
    from thinkube.stack.down import down
    from thinkube.stack.up import up

    began = time.monotonic()
    console.rule("thinkube up")
    try:
        up(progress=lambda line: console.print(f"  {line}", markup=False))
        execute(notebook)
        summarize()
    except CellExecutionError as error:
        console.print(f"{notebook.name} stopped: {error.ename}: {error.evalue}", style="red", markup=False)
        return 1
    finally:
        if os.environ.get("KEEP") == "1":
            console.print(f"Everything goes on. Use it with: export THINKUBE_HOME={home}; thinkube status")
        else:
            down(progress=lambda line: console.print(f"  {line}", markup=False))
    console.print(f"Done in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
