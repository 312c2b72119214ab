"""What nobody needs any more, and the room it takes: `thinkube gc`."""

from __future__ import annotations

from thinkube.bundles import collect
from thinkube.bundles.collect import Unused, remove
from thinkube.stack.environments import lock
from thinkube.stack.programs import PROGRAMS
from thinkube.targets.process import record
from thinkube.targets.process.target import ProcessTarget

__all__ = ["Unused", "remove", "unused"]


def unused(days: float = 30.0) -> list[Unused]:
    """Bundles without a release, and environments, wheels and locks that were idle for a while.

    What a deployment runs on and what the stack runs on is never among them.

    Args:
        days: how long something has to be idle.
    """
    running = [
        saved.release.digest
        for name in ProcessTarget().names()
        if (saved := record.read(record.places(name))) and saved.release
    ]
    needed = {lock(program.requirements).digest for program in PROGRAMS.values() if program.requirements}
    return [each for each in collect.unused(running, days) if each.path.name not in needed]
