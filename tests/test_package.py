"""What `import thinkube` offers and what it costs."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "mlflow",
    "langchain",
    "langchain_core",
    "torch",
    "kubernetes",
    "pydantic",
    "openai",
    "httpx",
    "yaml",
    "typer",
}


def loaded_after(statement: str) -> set[str]:
    """Top-level modules a fresh interpreter holds after one statement."""
    script = (
        f"import json, sys\n{statement}\nprint(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout))


def test_importing_loads_nothing_heavy():
    assert not HEAVY & loaded_after("import thinkube as tk")


def test_every_public_name_loads():
    import thinkube

    for name in thinkube.__all__:
        assert callable(getattr(thinkube, name)), name
    assert set(thinkube.__all__) <= set(dir(thinkube))


def test_an_unknown_name_is_an_attribute_error():
    import thinkube

    with pytest.raises(AttributeError, match="no attribute 'lllm'"):
        _ = thinkube.lllm


def test_every_error_is_public_and_carries_cause_and_fix():
    import thinkube as tk

    names = [name for name in vars(tk.errors) if not name.startswith("_")]
    assert "ServiceNotFound" in names
    for name in names:
        error = getattr(tk.errors, name)("the cause", "the fix")
        assert isinstance(error, tk.errors.ThinkubeError)
        assert str(error) == "the cause\nthe fix"


def test_the_tree_drawn_in_the_documentation_is_the_tree():
    import thinkube.errors as public
    import thinkube.model.errors as model

    drawn = [line.split()[-1] if line[0].isalpha() else line.split("── ")[1].split()[0]
             for line in (model.__doc__ or "").splitlines() if "── " in line]  # fmt: skip
    defined = [name for name in vars(public) if not name.startswith("_") and name != "ThinkubeError"]
    assert drawn == defined


def test_the_version_is_the_distribution_s():
    from importlib.metadata import version

    import thinkube

    assert thinkube.__version__ == version("thinkube-sdk")
