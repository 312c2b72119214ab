"""Agents on a real cluster: deployed, asked, replaced, rolled back, deleted; what is told of a failure."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import thinkube as tk
from thinkube.errors import DeploymentNotFound, RolloutFailed
from thinkube.services.kubernetes_api import KubernetesApi
from thinkube.targets.deployment import Deployment

from . import agents

# For a machine under load; none of the tests waits that long for a failure.
TIMEOUT = 240.0
TOLD_SECONDS = 60.0


class Team:
    """Deploys into a test's namespace."""

    def __init__(self, folder: Path, context: str) -> None:
        self.folder, self.context = folder, context
        self.name = f"greeter-{context}"  # releases are counted by name

    def deploy(self, word: str, **options: object) -> Deployment:
        path = agents.plain(self.folder, word)
        given = {"name": self.name, "timeout": TIMEOUT, "progress": lambda _: None, **options}
        return tk.deploy(path, object="agent", on=self.context, **given)  # type: ignore[arg-type]

    def failure(self, word: str, **options: object) -> str:
        begin = time.monotonic()
        with pytest.raises(RolloutFailed) as raised:
            self.deploy(word, **options)
        assert time.monotonic() - begin < TOLD_SECONDS + TIMEOUT / 4
        return str(raised.value)


@pytest.fixture
def team(tmp_path: Path, context: str) -> Team:
    return Team(tmp_path, context)


def test_an_agent_is_deployed_asked_replaced_rolled_back_and_deleted(team: Team, api: KubernetesApi) -> None:
    first = team.deploy("'first'")
    assert first.ask("hello") == "first: hello"
    event, data = list(first.stream({"text": "hello"}))[-1]
    assert (event, data["output"]) == ("output", "first: hello")
    assert (first.status, first.release.version) == ("running", 1)
    assert [each.name for each in tk.deployments(team.context)] == [team.name]

    second = team.deploy("'second'")
    assert second.ask("hello") == "second: hello"
    assert second.release.version == 2
    assert [release.version for release in second.history()] == [1, 2]

    second.rollback()
    assert tk.deployment(team.name, team.context).ask("hello") == "first: hello"
    assert second.release.version == 1
    assert any("started" in line for line in second.logs())

    second.delete()
    with pytest.raises(DeploymentNotFound, match=r"There are: none"):
        tk.deployment(team.name, team.context)
    for kind in ("Service", "NetworkPolicy", "PodDisruptionBudget", "Secret"):
        assert api.list(kind, labels="app.kubernetes.io/managed-by=thinkube") == []
    assert api.get("ServiceAccount", team.name) is None


def test_a_release_that_does_not_start_is_explained_and_the_one_before_still_serves(
    team: Team, api: KubernetesApi
) -> None:
    team.deploy("'first'")

    told = team.failure("{}['customers']")
    assert "KeyError: 'customers'" in told
    assert "WORD = {}['customers']" in told
    assert "Release 1 still serves." in told

    told = team.failure("os._exit(7)")
    assert "ended with code 7" in told

    _quota(api, {"limits.memory": "600Mi"})
    told = team.failure("'third'")
    assert "exceeded quota" in told
    assert "limits.memory" in told

    now = tk.deployment(team.name, team.context)
    assert (now.ask("hello"), now.release.version) == ("first: hello", 1)
    assert [release.version for release in now.history()] == [1]


def test_a_first_release_that_does_not_start_leaves_nothing(team: Team, api: KubernetesApi) -> None:
    told = team.failure("time.sleep(3600)", timeout=3.0)
    assert "Nothing is deployed under that name." in told
    assert "not ready after 3 s" in told or "it was ended" in told
    assert api.list("Deployment") == []
    assert tk.deployments(team.context) == []


def test_an_image_that_the_nodes_can_not_pull_is_named(
    team: Team, described: Callable[..., str], context: str
) -> None:
    described(context, namespace=context, pull="127.0.0.1:15000/elsewhere")
    told = team.failure("'first'")
    assert "can't be pulled" in told
    assert "127.0.0.1:15000/elsewhere" in told
    assert "`pull`" in told


def _quota(api: KubernetesApi, hard: dict[str, str]) -> None:
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "little"},
            "spec": {"hard": hard},
        }
    )
