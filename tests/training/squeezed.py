"""Train twice: undisturbed, then with memory that gets short after the second step.

Run by the training's Python. What gets short is the address space the kernel gives this process
(RLIMIT_AS), so that torch's own allocator fails, as it does on a machine without memory left.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from thinkube.model.recipe import recipe
from thinkube.training.loading import load, tokenizer_of
from thinkube.training.state import Reporter
from thinkube.training.tokens import Tokenizer

BASE, WORK = sys.argv[1], Path(sys.argv[2])
PLAN = recipe(
    name="squeezed", base=BASE, data="none", steps=4, batch=8, max_length=512, quantization="none", warmup=1
)


def size(kind: str) -> int:
    """Bytes of address space: `VmSize` now, `VmPeak` at most."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(kind))
    return int(line.split()[1]) * 1024


def train(name: str, after: Callable[[int], None]) -> list[float]:
    """The losses of a run."""
    from thinkube.training.trainer import fit

    (WORK / name).mkdir(parents=True)
    tokens = Tokenizer(tokenizer_of(BASE, PLAN), "auto", 512, True).rows(
        {"text": f"row {number} " + "word " * 500} for number in range(32)
    )
    losses: dict[int, float] = {}

    def told(step: int, values: Mapping[str, float]) -> None:
        losses[step] = values["loss"]
        after(step)

    reporter = Reporter(WORK / name)
    fit(
        load(PLAN, BASE),
        tokens,
        PLAN,
        WORK / name / "checkpoints",
        reporter,
        metrics=told,
        stopping=lambda: False,
    )
    return [losses[step] for step in sorted(losses)]


def main() -> None:
    needed = 0

    def look(_step: int) -> None:
        nonlocal needed
        needed = size("VmPeak") - size("VmSize")

    def squeeze(step: int) -> None:
        if step == 2:
            limit = size("VmSize") + int(0.75 * needed)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    print("RESULT", json.dumps({"free": train("free", look), "squeezed": train("squeezed", squeeze)}))


if __name__ == "__main__":
    main()
