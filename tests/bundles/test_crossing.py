"""A lock made here for a system over there: the same versions, and each change said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from thinkube.bundles.crossing import for_platform
from thinkube.bundles.environments import this_platform
from thinkube.bundles.lock import lock
from thinkube.errors import BundleError, UsageError
from thinkube.model.capture import Capture
from thinkube.model.lock import Lock, Pin, Wheel

Make = Callable[..., Capture]
OTHERS = [each for each in ("linux-aarch64", "darwin-arm64", "linux-x86_64") if each != this_platform()][:2]


def versions(locked: Lock) -> dict[str, str]:
    return {pin.name: pin.version for pin in locked.pins}


@pytest.mark.parametrize("platform", OTHERS)
def test_an_agents_lock_holds_elsewhere(make: Make, platform: str) -> None:
    here = lock(make())
    there = for_platform(here, platform)
    assert there.platform == platform
    assert there.digest != here.digest
    assert versions(there) == versions(here), "pure and widely built distributions stay as they are"
    assert [pin for pin in there.pins if pin.wheel] == [pin for pin in here.pins if pin.wheel]


def test_what_only_one_system_needs_comes_or_goes_and_is_said(make: Make) -> None:
    """IPython's kernel needs appnope on macOS."""
    on_mac = this_platform().startswith("darwin")
    here = lock(make("import ipykernel\nagent = ipykernel.version_info.count\n"))
    there = for_platform(here, "linux-x86_64" if on_mac else "darwin-arm64")
    assert ("appnope" in versions(there)) is not on_mac
    said = "left out" if on_mac else "is added"
    assert any(note.startswith("appnope") and said in note for note in there.notes)
    common = versions(there).keys() & versions(here).keys()
    assert all(versions(there)[name] == versions(here)[name] for name in common)


def test_what_only_this_system_needs_is_left_out_and_said(make: Make) -> None:
    here = lock(make())
    more = replace(here, pins=tuple(sorted((*here.pins, Pin("only-here", "1.0")), key=lambda pin: pin.name)))
    there = for_platform(more, OTHERS[0])
    assert "only-here" not in versions(there)
    assert any(note.startswith("only-here is for") for note in there.notes)


def test_a_local_version_gives_way_to_the_public_one(make: Make) -> None:
    here = lock(make())
    pins = tuple(
        replace(pin, version=f"{pin.version}+cpu") if pin.name == "orjson" else pin for pin in here.pins
    )
    there = for_platform(replace(here, pins=pins), OTHERS[0])
    assert versions(there)["orjson"] == versions(here)["orjson"]
    assert any(note.startswith("orjson is") for note in there.notes)


def test_here_is_left_as_it_is(make: Make) -> None:
    here = lock(make())
    assert for_platform(here, this_platform()) is here


def test_a_compiled_wheel_that_is_carried_is_refused(make: Make) -> None:
    here = lock(make())
    compiled = Pin(
        "fast-math", "1.0", Wheel("fast_math-1.0-cp311-cp311-linux_x86_64.whl", b"", "editable install")
    )
    with pytest.raises(BundleError, match="fast-math"):
        for_platform(replace(here, pins=(*here.pins, compiled)), OTHERS[0])


def test_a_version_that_is_not_to_be_had_there_is_refused(make: Make) -> None:
    here = lock(make())
    pins = tuple(replace(pin, version="0.0.999") if pin.name == "orjson" else pin for pin in here.pins)
    with pytest.raises(BundleError, match=r"orjson"):
        for_platform(replace(here, pins=pins), OTHERS[0])


def test_an_unknown_platform_is_refused(make: Make) -> None:
    with pytest.raises(UsageError, match="amiga"):
        for_platform(lock(make()), "amiga-m68k")
