"""Releases: one row of numbers, in MLflow and here."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from thinkube.bundles.package import package
from thinkube.bundles.registry import register, releases
from thinkube.bundles.store import Store
from thinkube.errors import ConfigurationError, CredentialRejected, ServiceUnreachable, UsageError
from thinkube.model.bundle import Bundle
from thinkube.model.capture import Capture
from thinkube.model.release import Release

Bundles = Callable[[int], Bundle]


@pytest.fixture
def name() -> str:
    return f"support-{uuid4().hex[:8]}"


@pytest.fixture
def bundles(make: Callable[..., Capture], name: str) -> Bundles:
    """The nth bundle of a deployment."""

    def bundle(number: int) -> Bundle:
        return package(make(f"def agent(q: str) -> int:\n    return {number}\n"), name=name, verify=False)

    return bundle


def numbers(several: list[Release]) -> list[int]:
    return [release.version for release in several]


class TestHere:
    """Without MLflow."""

    def test_versions_count_up(self, bundles: Bundles, name: str) -> None:
        first, second = register(bundles(1)), register(bundles(2), lineage={"run": "abc"})
        assert (first.version, second.version) == (1, 2)
        assert releases(name) == [first, second]
        assert second.lineage == {"notebook": "support.ipynb", "run": "abc"}
        assert second.registry is None
        assert time.time() - second.created < 60
        assert Store().get(second.digest)

    def test_the_latest_bundle_keeps_its_version(self, bundles: Bundles, name: str) -> None:
        assert numbers([register(bundles(each)) for each in (1, 1, 2, 1)]) == [1, 1, 2, 3]
        assert numbers(releases(name)) == [1, 2, 3]

    def test_releases_at_once_are_ordered(self, bundles: Bundles, name: str) -> None:
        several = [bundles(each) for each in range(12)]
        with ThreadPoolExecutor(6) as pool:
            given = list(pool.map(register, several))
        assert sorted(numbers(given)) == list(range(1, 13))
        assert numbers(releases(name)) == list(range(1, 13))

    def test_nothing_was_released(self) -> None:
        assert releases("never-seen") == []

    @pytest.mark.parametrize(
        "text", ['{"version": 99, "releases": []}', "{", "[]", '{"version": 1, "releases": [{}]}']
    )
    def test_a_journal_that_can_not_be_read_is_refused(
        self, bundles: Bundles, name: str, own_home: Path, text: str
    ) -> None:
        register(bundles(1))
        (own_home / "releases" / f"{name}.json").write_text(text)
        with pytest.raises(ConfigurationError, match=name):
            register(bundles(2))
        assert (own_home / "releases" / f"{name}.json").read_text() == text


class TestInMlflow:
    @pytest.fixture(autouse=True)
    def found(self, tracking: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        for variable, value in tracking.items():
            monkeypatch.setenv(variable, value)

    def test_a_release_is_a_model_version(self, bundles: Bundles, name: str) -> None:
        from mlflow import MlflowClient

        release = register(bundles(1), lineage={"run": "abc"})
        [version] = MlflowClient().search_model_versions(f"name='{name}'")
        assert int(version.version) == release.version == 1
        assert version.source == release.source
        assert version.tags["thinkube.digest"] == release.digest
        assert version.tags["thinkube.notebook"] == "support.ipynb"
        assert version.tags["thinkube.entrypoint"] == "agent:agent"
        assert version.tags["thinkube.lineage.run"] == "abc"
        assert len(version.tags["thinkube.requirements"]) == 64
        assert releases(name) == [release]

    def test_another_machine_sees_the_releases(
        self, bundles: Bundles, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = register(bundles(1))
        monkeypatch.setenv("THINKUBE_HOME", str(tmp_path / "another"))
        assert releases(name) == [first]
        assert register(bundles(2)).version == 2

    def test_what_was_released_without_mlflow_follows(
        self, bundles: Bundles, name: str, tracking: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for variable in tracking:
            monkeypatch.delenv(variable)
        before = [register(bundles(each)) for each in (1, 2)]
        for variable, value in tracking.items():
            monkeypatch.setenv(variable, value)
        assert register(bundles(3)).version == 3
        after = releases(name)
        assert [(release.version, release.digest) for release in after[:2]] == [
            (release.version, release.digest) for release in before
        ]
        assert all(release.registry for release in after)

    def test_numbers_that_collide_give_way_to_mlflows(
        self,
        bundles: Bundles,
        name: str,
        tracking: dict[str, str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        register(bundles(1))
        monkeypatch.setenv("THINKUBE_HOME", str(tmp_path / "another"))
        for variable in tracking:
            monkeypatch.delenv(variable)
        aside = register(bundles(2))
        assert aside.version == 1
        for variable, value in tracking.items():
            monkeypatch.setenv(variable, value)
        assert register(bundles(3)).version == 3
        assert [release.digest for release in releases(name)] == [bundles(each).digest for each in (1, 2, 3)]
        assert numbers(releases(name)) == [1, 2, 3]

    def test_a_version_removed_there_can_still_be_rolled_back_to(self, bundles: Bundles, name: str) -> None:
        from mlflow import MlflowClient

        for each in (1, 2):
            register(bundles(each))
        MlflowClient().delete_model_version(name, "1")
        assert register(bundles(3)).version == 3
        assert numbers(releases(name)) == [1, 2, 3]

    def test_releases_at_once_are_ordered(self, bundles: Bundles, name: str) -> None:
        several = [bundles(each) for each in range(5)]
        with ThreadPoolExecutor(5) as pool:
            given = list(pool.map(register, several))
        assert sorted(numbers(given)) == numbers(releases(name)) == [1, 2, 3, 4, 5]

    def test_a_model_of_someone_else_is_left_alone(self, bundles: Bundles, name: str) -> None:
        from mlflow import MlflowClient

        MlflowClient().create_registered_model(name)
        with pytest.raises(UsageError, match="did not register"):
            register(bundles(1))
        assert not MlflowClient().search_model_versions(f"name='{name}'")

    def test_mlflow_down_is_said_before_anything_is_changed(
        self, bundles: Bundles, name: str, own_home: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = register(bundles(1))
        second = bundles(2)
        before = (own_home / "releases" / f"{name}.json").read_bytes()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port}")
        began = time.monotonic()
        with pytest.raises(ServiceUnreachable, match="MLFLOW_TRACKING_URI"):
            register(second)
        assert time.monotonic() - began < 5
        assert (own_home / "releases" / f"{name}.json").read_bytes() == before
        assert releases(name) == [first], "history is there while MLflow is not"

    def test_a_wrong_password_is_said(self, bundles: Bundles, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "mallory")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "not-the-password")
        with pytest.raises(CredentialRejected) as refusal:
            register(bundles(1))
        assert "not-the-password" not in str(refusal.value)
