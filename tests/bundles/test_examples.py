"""Examples in docstrings, and in the page about bundles, do what they say."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

from thinkube.model.manifest import parse

PAGE = Path(__file__).parents[2] / "docs" / "bundles.md"


@pytest.mark.parametrize("module", ["model.manifest", "bundles.render", "bundles.report"])
def test_docstrings(module: str) -> None:
    result = doctest.testmod(import_module(f"thinkube.{module}"), optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed


def test_the_pages_manifest_is_one() -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    assert parse(text).name == "docs-agent"


def test_the_pages_python_runs(own_home: Path) -> None:
    assert doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS).failed == 0
    assert own_home.exists(), "the page makes a bundle"
