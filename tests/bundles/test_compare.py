"""What changed between two releases, as a reviewer would ask."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from thinkube.bundles.compare import Change, compare
from thinkube.bundles.package import package
from thinkube.model.capture import Capture, CapturedFile

Make = Callable[..., Capture]


def test_code_lock_and_configuration_are_told_apart(make: Make) -> None:
    old = package(make(secrets=("A",)), name="support", verify=False, environment={"MODE": "slow"})
    source = "import yaml\n" + make().source.replace("Hello", "Good <b>day</b>")
    image = CapturedFile("logo.png", b"\x89PNG\xff", "it is read")
    new = package(
        make(source, secrets=("A", "B"), files=(image,), requirements=("tqdm",)),
        name="support",
        verify=False,
        environment={"MODE": "fast"},
    )
    found = compare(old.path, new.path, ("version 1", "version 2"))
    assert found
    assert set(found.code) == {"agent.py", "logo.png"} | {
        name for name in found.code if name.startswith("tests/")
    }
    assert "--- version 1/agent.py" in found.code["agent.py"]
    assert '-    return {"messages": [("ai", "Hello")]}' in found.code["agent.py"]
    assert found.code["logo.png"] == "logo.png: 0 bytes → 5 bytes, not text\n"
    assert set(found.configuration) == {
        Change("environment.MODE", "slow", "fast"),
        Change("secrets", "A", "A, B"),
    }
    from importlib.metadata import version

    assert Change("tqdm", None, version("tqdm")) in found.lock
    assert "tqdm: (none) → " in str(found)
    assert "&lt;b&gt;day" in found._repr_html_()
    assert found.to_dict()["configuration"][0] == {
        "name": "environment.MODE",
        "before": "slow",
        "after": "fast",
    }
    console = Console(width=100)
    with console.capture() as out:
        console.print(found)
    assert "environment.MODE: slow → fast" in out.get()


def test_the_same_bundle_has_no_difference(make: Make) -> None:
    bundle = package(make(), verify=False)
    same = compare(bundle.path, bundle.path, ("version 1", "version 2"))
    assert not same
    assert str(same) == "version 1 and version 2 are the same"


def test_a_removed_file_is_shown(make: Make) -> None:
    tool = CapturedFile("tool.py", b"x = 1\n", "imported")
    old = package(make(files=(tool,)), verify=False)
    new = package(make(), verify=False)
    assert "-x = 1" in compare(old.path, new.path).code["tool.py"]
