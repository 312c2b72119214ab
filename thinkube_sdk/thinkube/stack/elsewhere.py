"""Services that the user runs elsewhere: an environment variable says where, so the stack leaves them out."""

from __future__ import annotations

import os

from thinkube.services.exported import exported
from thinkube.services.table import SERVICES
from thinkube.stack.programs import PROGRAMS


def elsewhere() -> dict[str, str]:
    """Programs that the stack need not start, with the variable that says where theirs runs."""
    found = {
        program.name: variable
        for program in PROGRAMS.values()
        # A program stands for several services, MLflow also for Langfuse; the first is the one it is.
        if program.serves and (variable := _variable(program.serves[0]))
    }
    for program in PROGRAMS.values():
        # What only serves a program that is left out is left out with it.
        users = [each for each in PROGRAMS.values() if program.name in each.needs]
        if users and all(user.name in found for user in users):
            found[program.name] = found[users[0].name]
    return found


def _variable(service: str) -> str | None:
    ours = exported()
    for way in SERVICES[service].environments:
        url = os.environ.get(way.url)
        if url and ours.get(way.url) != url:
            return way.url
    return None
