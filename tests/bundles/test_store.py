"""The content store: what was put in comes out, or it is said that it doesn't."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from thinkube.bundles.package import package
from thinkube.bundles.store import Store
from thinkube.errors import BundleError
from thinkube.model.bundle import Bundle
from thinkube.model.capture import Capture


@pytest.fixture
def bundle(make: Callable[..., Capture], tmp_path: Path) -> Bundle:
    return package(make(), out=tmp_path / "out", verify=False)


def test_a_bundle_comes_out_as_it_went_in(bundle: Bundle, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.put(bundle).endswith(bundle.digest)
    folder = store.get(bundle.digest)
    assert (folder / "agent.py").read_text() == bundle.capture.source
    assert store.digests() == [bundle.digest]


def test_files_an_agent_leaves_behind_do_not_matter(bundle: Bundle, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    folder = store.add(bundle.path, bundle.digest)
    (folder / "memory.sqlite").write_bytes(b"left by a running agent")
    assert store.get(bundle.digest) == folder


def test_a_changed_file_is_noticed_and_put_right(bundle: Bundle, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    folder = store.add(bundle.path, bundle.digest)
    (folder / "agent.py").write_text("import os\n")
    with pytest.raises(BundleError, match=r"agent\.py"):
        store.get(bundle.digest)
    store.put(bundle)
    assert (store.get(bundle.digest) / "agent.py").read_text() == bundle.capture.source


def test_what_runs_writes_into_its_own_copy(bundle: Bundle, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.put(bundle)
    place = store.check_out(bundle.digest, tmp_path / "running" / "1")
    assert (place / "agent.py").read_text() == bundle.capture.source
    (place / "agent.py").write_text("# written at run time\n")
    (place / "memory.db").write_text("x")
    assert store.check_out(bundle.digest, place) == place
    assert (place / "memory.db").exists(), "a restart finds what was written"
    assert store.get(bundle.digest)
    assert [entry.name for entry in place.parent.iterdir()] == ["1"]


def test_a_changed_list_is_noticed(bundle: Bundle, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    folder = store.add(bundle.path, bundle.digest)
    (folder / "SHA256SUMS").write_text("")
    with pytest.raises(BundleError, match="SHA256SUMS"):
        store.get(bundle.digest)


def test_a_bundle_that_is_not_its_digest_is_not_kept(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.path / "agent.py").write_text("import os\n")
    store = Store(tmp_path / "store")
    with pytest.raises(BundleError):
        store.put(bundle)
    assert store.digests() == []


def test_an_unknown_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle"):
        Store(tmp_path).get("0" * 64)


def test_many_writers_of_one_bundle(bundle: Bundle, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with ThreadPoolExecutor(8) as pool:
        uris = set(pool.map(store.put, [bundle] * 24))
    assert len(uris) == 1
    assert store.digests() == [bundle.digest]
    assert [entry.name for entry in store.folder.iterdir()] == [bundle.digest], "nothing is left over"
    store.get(bundle.digest)
