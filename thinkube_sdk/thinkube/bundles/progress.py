"""How a long step says what it is doing: one plain sentence at a time."""

from collections.abc import Callable

Progress = Callable[[str], None]


def silent(message: str) -> None:
    """Say nothing."""


def printed(message: str) -> None:
    """For a person in a notebook or at a prompt."""
    print(f"  {message}", flush=True)
