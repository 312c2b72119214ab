"""Notebooks nobody wrote: generated, executed in IPython's shell, captured, and compared."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from thinkube.capture.kernel import capture_live
from thinkube.model.errors import ThinkubeError

NAMES = ("a", "b", "c", "d")
FUNCTIONS = ("f", "g", "h")
PRELUDE = """
def put(box, value):
    if isinstance(box, list):
        box.append(value)
    elif isinstance(box, dict):
        box[len(box)] = value
    elif isinstance(box, Box):
        box.add(value)
    return box

class Box:
    made = []
    def __init__(self, inner=None):
        self.inner = inner
        self.items = []
    def add(self, value):
        self.items.append(value)
        return self
    def take(self):
        return self.items.pop() if self.items else None
    @classmethod
    def note(cls, value):
        cls.made.append(value)

REGISTRY = {}
def register(function):
    REGISTRY[function.__name__] = function
    return function

def show(value, depth=0):
    if depth > 5:
        return "..."
    if isinstance(value, (list, tuple)):
        return [show(each, depth + 1) for each in value]
    if isinstance(value, dict):
        return {str(key): show(each, depth + 1) for key, each in value.items()}
    if isinstance(value, Box):
        return ("Box", show(value.inner, depth + 1), show(value.items, depth + 1), list(Box.made))
    if callable(value):
        return getattr(value, "__name__", "callable")
    return value

a, b, c, d = [], {}, Box([1]), [0]
def f(): return a
def g(): return c
def h(): return b
"""

name = st.sampled_from(NAMES)
function = st.sampled_from(FUNCTIONS)
number = st.integers(0, 9)


def lines(template: str, **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """A statement with its blanks filled in."""
    return st.fixed_dictionaries(parts).map(lambda values: template.format(**values))


statement = st.one_of(
    lines("{x} = []", x=name),
    lines("{x} = {{}}", x=name),
    lines("{x} = {n}", x=name, n=number),
    lines("{x} = Box()", x=name),
    lines("{x} = Box({y})", x=name, y=name),
    lines("{x} = {y}", x=name, y=name),
    lines("{x} = [{y}, {z}]", x=name, y=name, z=name),
    lines("{x} = dict(k={y})", x=name, y=name),
    lines("{x} = list({y})", x=name, y=name),
    lines("{x} = {y}.inner", x=name, y=name),
    lines("{x} = {y}[0]", x=name, y=name),
    lines("{x}, {y} = {y}, {x}", x=name, y=name),
    lines("put({x}, {n})", x=name, n=number),
    lines("put({x}, {y})", x=name, y=name),
    lines("print({x})", x=name),
    lines("{x}.append({n})", x=name, n=number),
    lines("{x}.add({n})", x=name, n=number),
    lines("{x}.take()", x=name),
    lines("print({x}.take())", x=name),
    lines("{x}[{n}] = {y}", x=name, n=number, y=name),
    lines("{x} += [{n}]", x=name, n=number),
    lines("{x}.inner = {y}", x=name, y=name),
    lines("Box.note({n})", n=number),
    lines("del {x}", x=name),
    lines("{x} = put({y}, {n})", x=name, y=name, n=number),
    lines("{x} = {f}()", x=name, f=function),
    lines("{f}()", f=function),
    lines("show({f}())", f=function),
    lines("for each in ({x}, {y}):\n    put(each, {n})", x=name, y=name, n=number),
    lines("for {x} in range({n}):\n    put({y}, {x})", x=name, y=name, n=number),
    lines("if {n} > 4:\n    {x} = [{n}]", x=name, n=number),
    lines("if isinstance({x}, list):\n    {y} = {x}\nelse:\n    {y} = [{n}]", x=name, y=name, n=number),
    lines("try:\n    {x}.append({n})\nexcept AttributeError:\n    {x} = [{n}]", x=name, n=number),
    lines("try:\n    {x} = {y}[0]\nfinally:\n    put({z}, {n})", x=name, y=name, z=name, n=number),
    lines("def {f}():\n    return {x}", f=function, x=name),
    lines("def {f}():\n    put({x}, {n})\n    return {y}", f=function, x=name, y=name, n=number),
    lines("def {f}():\n    global {x}\n    {x} = [{n}]\n    return {x}", f=function, x=name, n=number),
    lines("def {f}(box={x}):\n    return put(box, {n})", f=function, x=name, n=number),
    lines("def {f}():\n    return {g}()", f=function, g=function),
    lines("{f} = lambda: {x}", f=function, x=name),
    lines("@register\ndef {f}():\n    return {x}", f=function, x=name),
    lines("{f} = {g}", f=function, g=function),
    lines("{x} = [put(e, {n}) for e in [{y}]]", x=name, y=name, n=number),
    lines("{x} = {{**{y}}} if isinstance({y}, dict) else {y}", x=name, y=name),
    lines("import copy\n{x} = copy.deepcopy({y})", x=name, y=name),
    lines("{x} = next(iter([{y}]))", x=name, y=name),
    lines("(lambda e: put(e, {n}))({x})", x=name, n=number),
    lines("globals()['{x}'] = {y}", x=name, y=name),
    lines("setattr({x}, 'inner', {y})", x=name, y=name),
    lines("{x} = sorted([{n}, 3, 1])", x=name, n=number),
    lines("while len({x}) < 3:\n    {x}.append({y})", x=name, y=name),
    lines("Box.add = lambda self, v: (self.items.append((v, {n})), self)[1]", n=number),
    lines("{x}.add = {y}.append", x=name, y=name),
    lines("assert put({x}, {n}) is not None", x=name, n=number),
    lines("{n} / 0", n=number),
)
cell = st.lists(statement, min_size=1, max_size=4).map("\n".join)
FINAL = "def target():\n    return [show(v) for v in ({parts})], sorted(REGISTRY)"
final = st.lists(st.sampled_from([*NAMES, *(f"{f}()" for f in FUNCTIONS)]), min_size=1, max_size=3).map(
    lambda parts: FINAL.format(parts=", ".join(parts) + ",")
)


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    yield shell
    InteractiveShell.clear_instance()


def answer(namespace: dict[str, Any]) -> str:
    """What the object says, once and again."""
    try:
        return repr((namespace["target"](), namespace["target"]()))
    except Exception as error:  # noqa: BLE001 - whatever the notebook raises is its behaviour
        return f"raises {type(error).__name__}"


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.generate],
)
@given(st.lists(st.tuples(st.booleans(), cell), min_size=1, max_size=8), st.lists(number, max_size=6), final)
def test_a_generated_notebook_behaves_as_it_did(
    shell: InteractiveShell, cells: list[tuple[bool, str]], again: list[int], last: str
) -> None:
    texts = [text for _, text in cells]
    order = [*texts, *(texts[n % len(texts)] for n in again)]
    shell.reset(new_session=True)
    shell.history_manager.reset(new_session=True)
    shell.history_manager.exceptions.clear()
    shell.execution_count = 1
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for text in [PRELUDE, *order, last]:
            shell.run_cell(text, store_history=True)
        notebook = "\n# %%\n".join([*order, last])
        capture, refusal = None, ""
        try:
            capture = capture_live(shell.user_ns["target"], shell=shell, name="target")
        except ThinkubeError as error:
            refusal = str(error)
        live = answer(shell.user_ns)
        if capture is None:
            assert live.startswith("raises "), f"refused: {refusal}\nlive: {live}\n{notebook}"
            return
        namespace: dict[str, Any] = {"__name__": "captured", "__file__": str(Path("captured.py").absolute())}
        try:
            exec(compile(capture.source, "captured.py", "exec"), namespace)
            here = answer(namespace)
        except Exception as error:  # noqa: BLE001 - shown in the assertion
            here = f"the module raises {type(error).__name__}: {error}"
    assert here == live, f"live {live}\nhere {here}\n--- notebook\n{notebook}\n--- captured\n{capture.source}"
