"""What this machine has, and whether it is enough for a run. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from thinkube.model.errors import MachineTooSmall
from thinkube.model.recipe import Recipe
from thinkube.training.base import Base, memory_needed

_MARGIN = 512 * 2**20


@dataclass(frozen=True)
class Machine:
    """What a run may use.

    Attributes:
        gpus: free bytes of each GPU's memory.
        memory: bytes of main memory that are available, also within the limit of our control group.
    """

    gpus: tuple[int, ...]
    memory: int


def machine() -> Machine:
    """This machine."""
    return Machine(_gpus(), _memory())


def check(recipe: Recipe, base: Base | None, folder: Path, here: Machine) -> None:
    """Refuse a run that can't fit.

    Args:
        base: what is known of the base; None where it is on a hub.
        folder: where checkpoints and the model are written.

    Raises:
        MachineTooSmall: a GPU is asked for where there is none; disk or memory don't suffice, as estimated.
    """
    wanted = recipe.gpus
    if wanted and wanted > len(here.gpus):
        raise MachineTooSmall(
            f"The recipe asks for {_count(wanted)}; this machine has {_count(len(here.gpus))}.",
            "Leave `gpus` out to use what there is, or submit the job to a cluster.",
        )
    if base is None:
        return
    disk = shutil.disk_usage(folder).free
    kept = _disk_needed(recipe, base)
    if disk < kept:
        raise MachineTooSmall(
            f"Checkpoints and the model take about {_size(kept)}; {folder} has {_size(disk)} left.",
            "Free some disk, or set THINKUBE_HOME to a larger one.",
        )
    needed = memory_needed(base, recipe)
    on_gpu = bool(here.gpus) and wanted != 0
    free = max(here.gpus) if on_gpu else here.memory
    # Halving the batch is done while it runs; what has to fit is one row at once.
    one_row = memory_needed(base, recipe.model_copy(update={"batch": 1, "at_once": 1}))
    if one_row > free:
        raise MachineTooSmall(
            f"The run takes about {_size(needed)} of {'GPU ' if on_gpu else ''}memory, "
            f"{_size(one_row)} with one row at once; {_size(free)} are free.",
            "Use a smaller base, quantization '4bit', or a shorter max_length.",
        )


def _disk_needed(recipe: Recipe, base: Base) -> int:
    if recipe.full:
        return 3 * base.parameters * 12 + _MARGIN  # three checkpoints with optimizer states
    merged = 2 * base.parameters if "merged" in recipe.outputs else 0
    return merged + base.parameters // 4 + _MARGIN


def _gpus() -> tuple[int, ...]:
    program = shutil.which("nvidia-smi")
    if program is None or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return ()
    asked = subprocess.run(
        [program, "--query-gpu=memory.free", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        return ()
    every = [int(line) * 2**20 for line in asked.stdout.split() if line.isdigit()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible and all(part.strip().isdigit() for part in visible.split(",")):
        every = [every[int(part)] for part in visible.split(",") if int(part) < len(every)]
    return tuple(every)


def _memory() -> int:
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if sys.platform == "linux":
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
        limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
        if limit.exists() and limit.read_text().strip() != "max":
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


def _count(gpus: int) -> str:
    return {0: "no GPU", 1: "one GPU"}.get(gpus, f"{gpus} GPUs")


def _size(size: float) -> str:
    """Bytes as people say them.

    Example:
        >>> _size(1_500_000_000)
        '1.4 GiB'
    """
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
