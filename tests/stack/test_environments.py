"""The pins of the programs that run in environments of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from thinkube.stack import environments
from thinkube.stack.environments import lock
from thinkube.stack.programs import PROGRAMS

FILES = sorted({program.requirements for program in PROGRAMS.values() if program.requirements})


@pytest.mark.parametrize("name", FILES)
def test_every_line_is_a_pin_without_a_host(name: str):
    text = (Path(environments.__file__).parent / "requirements" / name).read_text()
    assert "://" not in text
    assert " @ " not in text
    pins = lock(name).pins
    assert len({pin.name for pin in pins}) == len(pins) > 10
    assert all(pin.version[0].isdigit() for pin in pins)


def test_markers_choose_what_this_python_needs():
    assert len([pin for pin in lock("models.txt").pins if pin.name == "numpy"]) == 1
