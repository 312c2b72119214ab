"""Modules that tests deploy, written out with what tells one version from another."""

from __future__ import annotations

import textwrap
from pathlib import Path

PLAIN = """
    import os
    import time

    WORD = {word}


    def agent(text: str) -> str:
        return f"{{WORD}}: {{text}}"
"""


def plain(folder: Path, word: str) -> Path:
    """A function that answers with its version's word: a Python expression, evaluated when it is imported."""
    path = folder / "agent.py"
    path.write_text(textwrap.dedent(PLAIN).format(word=word))
    return path
