"""How a long step says what it is doing: one plain sentence at a time."""

from collections.abc import Callable

Progress = Callable[[str], None]


def silent(message: str) -> None:
    """Say nothing."""
