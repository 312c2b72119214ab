"""How a context's cluster is described and reached, where there is none."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from thinkube.errors import ClusterUnreachable, ConfigurationError
from thinkube.model.settings import config_file
from thinkube.services.context_file import Kubernetes
from thinkube.services.contexts import current
from thinkube.services.kubernetes_api import connect

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: here
clusters: [{{name: here, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: me, user: {{token: canary-7c1f}}}}]
contexts: [{{name: here, context: {{cluster: here, user: me, namespace: team-a}}}}]
"""


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A context `team` whose cluster's API is at a port where nothing listens."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(port=free.getsockname()[1]))
    config_file().parent.mkdir(parents=True)
    config_file().write_text(f"""\
[contexts.team.kubernetes]
kubeconfig = "{tmp_path}/kubeconfig"
registry = "registry.example.org/team"

[contexts.plain.services]
""")
    return config_file()


@pytest.mark.usefixtures("described")
def test_a_context_has_the_cluster_that_the_file_describes() -> None:
    context = current("team")
    assert isinstance(context.kubernetes, Kubernetes)
    assert context.kubernetes.registry == "registry.example.org/team"
    assert connect("team").namespace == "team-a"
    assert current("plain").kubernetes is None
    assert current("in-cluster").kubernetes == Kubernetes()


@pytest.mark.usefixtures("described")
def test_a_context_without_a_cluster_says_how_to_describe_one() -> None:
    with pytest.raises(ConfigurationError, match=r"plain has no Kubernetes cluster") as raised:
        connect("plain")
    assert "[contexts.plain.kubernetes]" in raised.value.fix


def test_an_unknown_key_is_named_with_its_line(described: Path) -> None:
    described.write_text('[contexts.team.kubernetes]\nregistri = "x"\n')
    with pytest.raises(ConfigurationError, match=r"line 2: unknown key 'registri'") as raised:
        current("team")
    assert "Did you mean 'registry'?" in raised.value.fix


def test_a_kubeconfig_that_is_not_there_is_named(described: Path) -> None:
    described.write_text('[contexts.team.kubernetes]\nkubeconfig = "/nonexistent/kubeconfig"\n')
    with pytest.raises(ConfigurationError, match=r"/nonexistent/kubeconfig"):
        connect("team")


@pytest.mark.usefixtures("described")
def test_a_cluster_that_does_not_answer_is_named_with_its_address() -> None:
    api = connect("team")
    with pytest.raises(ClusterUnreachable, match=r"of the context team does not answer at http") as raised:
        api.list("Pod")
    assert "canary" not in str(raised.value)
