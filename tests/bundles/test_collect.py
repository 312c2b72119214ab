"""Freeing space: what is used stays."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from thinkube.bundles.collect import remove, unused
from thinkube.bundles.environments import environment
from thinkube.bundles.package import package
from thinkube.bundles.registry import register
from thinkube.bundles.store import Store
from thinkube.model.capture import Capture

Make = Callable[..., Capture]


def age(folder: Path, days: float = 60) -> None:
    """Let everything right below a folder be of long ago."""
    then = time.time() - days * 86400
    for entry in folder.iterdir():
        os.utime(entry, (then, then))


@pytest.fixture
def places(cache: Path, own_home: Path) -> list[Path]:
    store = own_home / "store" / "sha256"
    return [cache / "environments", cache / "wheels", cache / "locks", store]


def test_what_a_deployment_runs_on_stays(make: Make, places: list[Path]) -> None:
    used = package(make("def agent(q: str) -> str:\n    return q\n"))
    idle = package(make("import tqdm\n\n\ndef agent(q: str) -> str:\n    return q\n"))
    tried = package(make("agent = print\n"), verify=False)
    for bundle in (used, idle):
        register(bundle, "support")
    python = environment(used.lock)
    for place in places:
        age(place)
    found = unused([used.digest])
    assert {each.what for each in found} == {"environment", "bundle", "wheel", "lock"}
    assert [each.path.name for each in found if each.what == "environment"] == [idle.lock.digest]
    assert [each.path.name for each in found if each.what == "bundle"] == [tried.digest]
    assert found[0].size > 1_000_000
    assert remove(found) == sum(each.size for each in found)
    assert not unused([used.digest])
    assert python.exists()
    assert Store().get(used.digest)
    assert Store().get(idle.digest), "an earlier release can be rolled back to"
    assert package(make("agent = print\n")).verified, "what was removed is made again"


def test_what_was_used_lately_stays(make: Make) -> None:
    package(make("agent = print\n"))
    assert not unused(days=1)
    assert unused(days=0)


def test_using_an_environment_keeps_it(make: Make, places: list[Path]) -> None:
    bundle = package(make("agent = print\n"))
    for place in places:
        age(place)
    environment(bundle.lock)
    assert "environment" not in {each.what for each in unused()}


def test_what_an_interrupted_maker_left_goes(places: list[Path]) -> None:
    for place in places[:1] + places[-1:]:
        (place / ".making-abc").mkdir(parents=True)
        age(place)
    found = unused()
    assert {each.what for each in found} == {"leftover"}
    remove(found)
    assert not unused()


def test_nothing_is_there_yet() -> None:
    assert not [each for each in unused() if each.what == "bundle"]
