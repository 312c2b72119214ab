"""Whatever the file holds, the answer is a capture or one of Thinkube's own errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thinkube.capture.magics import to_python
from thinkube.capture.module_file import capture_module
from thinkube.capture.notebook_file import capture_notebook
from thinkube.model.errors import NotebookInvalid, ThinkubeError, UsageError


def notebook(*cells: str, **more: Any) -> dict[str, Any]:
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": cell}
            for cell in cells
        ],
        **more,
    }


def attempt(folder: Path, content: bytes | str | dict[str, Any]) -> str:
    """Capture `target`; the class of the error, or `captured`."""
    path = folder / "case.ipynb"
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    try:
        capture_notebook(path, "target")
    except ThinkubeError as error:
        return type(error).__name__ if str(error) else "an error without words"
    return "captured"


GOOD = notebook("def target(): return 1")

MALFORMED: dict[str, tuple[bytes | str | dict[str, Any], str]] = {
    "empty": (b"", "NotebookInvalid"),
    "truncated": (json.dumps(GOOD)[:-20], "NotebookInvalid"),
    "null bytes": (b"\0\0\0\0", "NotebookInvalid"),
    "not UTF-8": (b"\xff\xfe\x00", "NotebookInvalid"),
    "a list": ("[]", "NotebookInvalid"),
    "a number": ("4", "NotebookInvalid"),
    "no cells": ({"nbformat": 4}, "NotebookInvalid"),
    "cells of the wrong type": ({"cells": "x"}, "NotebookInvalid"),
    "a cell of the wrong type": ({"cells": [3]}, "NotebookInvalid"),
    "a source of the wrong type": ({"cells": [{"cell_type": "code", "source": 4}]}, "NotebookInvalid"),
    "a source of mixed types": ({"cells": [{"cell_type": "code", "source": ["x", 4]}]}, "NotebookInvalid"),
    "deep nesting": ("[" * 100_000, "NotebookInvalid"),
    "another language": (
        notebook("target <- 1", metadata={"kernelspec": {"language": "R"}}),
        "NotebookInvalid",
    ),
    "a byte-order mark": (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "captured"),
    "metadata of the wrong type": ({**GOOD, "metadata": 3}, "captured"),
    "outputs of the wrong type": (
        {
            "cells": [
                {
                    "cell_type": "code",
                    "source": "target = len",
                    "outputs": [3, {"output_type": "error", "traceback": 4}],
                }
            ]
        },
        "captured",
    ),
    "source as lines": (
        {"cells": [{"cell_type": "code", "source": ["def target():\n", "    return 1"]}]},
        "captured",
    ),
    "format 3": (
        {
            "nbformat": 3,
            "worksheets": [
                {"cells": [{"cell_type": "code", "input": "def target(): return 1", "outputs": []}]}
            ],
        },
        "captured",
    ),
    "mixed newlines": (notebook("x = 1\r\ndef target():\r    return x\n"), "captured"),
    "null bytes in a cell": (notebook("x = '\0'", "def target(): return 1"), "captured"),
    "lone surrogates": (notebook("x = '\ud800'", "def target(): return 1"), "captured"),
    "a huge cell": (notebook("x = [\n" + "1,\n" * 100_000 + "]", "def target(): return 1"), "captured"),
    "a deep expression": (notebook("x = " + "-" * 5_000 + "1", "def target(): return 1"), "captured"),
    "deep brackets": (notebook("x = " + "[" * 5_000, "def target(): return 1"), "captured"),
    "a long line": (notebook("x = '" + "y" * 1_000_000 + "'", "def target(): return x"), "captured"),
    "a form feed and tabs": (notebook("\x0c\ndef target():\n\treturn 1"), "captured"),
    "only magics": (notebook("%%bash\nls", "!ls", "%matplotlib inline"), "ObjectNotFound"),
    "an unfinished string": (notebook('x = """never closed', "def target(): return 1"), "captured"),
    "no cells at all": ({"cells": []}, "ObjectNotFound"),
    "a long chain": (notebook("x = " + "+".join(["1"] * 20_000), "def target(): return x"), "SourceRefused"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_notebook_gets_a_plain_answer(name: str, tmp_path: Path) -> None:
    content, expected = MALFORMED[name]
    found = attempt(tmp_path, content)
    assert found == expected or (
        name in {"a long chain", "a deep expression"} and found in {"captured", "SourceRefused"}
    )


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no notebook"):
        capture_notebook(tmp_path / "none.ipynb", "target")
    with pytest.raises(UsageError, match="There is no module"):
        capture_module(tmp_path / "none.py", "target")


def test_a_module_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NotebookInvalid):
        capture_module(tmp_path / "m.py", "target")


QUIET = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@QUIET
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    attempt(tmp_path, content)


@QUIET
@given(st.integers(0, len(json.dumps(GOOD))), st.binary(max_size=4))
def test_a_damaged_notebook(tmp_path: Path, place: int, damage: bytes) -> None:
    text = json.dumps(GOOD).encode()
    attempt(tmp_path, text[:place] + damage + text[place + len(damage) :])


KEYS = ["cells", "cell_type", "source", "outputs", "metadata", "data", "output_type", "text/plain"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@QUIET
@given(anything)
def test_any_structure(tmp_path: Path, content: Any) -> None:
    attempt(tmp_path, json.dumps(content))
    attempt(
        tmp_path,
        json.dumps(
            {
                "cells": [
                    {"cell_type": "code", "source": "target = 1", "outputs": [content], "metadata": content}
                ]
            }
        ),
    )


fragments = st.sampled_from(
    [
        "%",
        "%%",
        "!",
        "?",
        "??",
        "\n",
        " ",
        "    ",
        "x",
        " = ",
        "(",
        ")",
        "[",
        '"',
        "'''",
        '"""',
        "\\",
        "#",
        ":",
        "if x",
        "def f()",
        "%time ",
        "!pip install ",
        "%%time",
        "%%writefile a.py",
        "await ",
        "lambda: ",
        "\t",
        "é",
        "\x00",
        "\r",
        "{",
        "}",
        "f'",
        "@",
        ";",
        "import os",
        "from x import *",
        "%env A=",
        "del x",
        "global x",
        "return",
        "class A",
        "match x",
        "case _",
        "target",
        "async with a as b",
    ]
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(st.lists(fragments, max_size=14).map("".join), min_size=1, max_size=3))
def test_any_cells(tmp_path: Path, cells: list[str]) -> None:
    attempt(tmp_path, notebook("x = 1", *cells, "def target(): return x"))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(fragments, max_size=20).map("".join))
def test_lines_stay_lines(text: str) -> None:
    assert to_python(text).text.count("\n") == text.count("\n")
