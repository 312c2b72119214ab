"""Contexts: which one holds, what it names, and what is said of a file that can't be understood."""

from __future__ import annotations

from pathlib import Path

import pytest

import thinkube as tk
from thinkube.errors import ConfigurationError, CredentialRejected, ServiceNotFound, UsageError
from thinkube.model.endpoint import Credential
from thinkube.services import contexts, secrets
from thinkube.services.context_file import choose, parse
from thinkube.services.discovery import find

TEAM = """\
# our team's services
context = "team"   # chosen by hand

[contexts.team.services.llm]
url = "https://llm.example.org/v1"
secret = "TEAM_LLM_KEY"
model = "qwen3-30b"

[contexts.team.services.mlflow]
url = "https://mlflow.example.org/"
username = "ada"
secret = "TEAM_MLFLOW_PASSWORD"

[contexts.prod.services]
nats = { url = "nats.example.org:4222" }
"""


@pytest.fixture
def file(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("THINKUBE_CONTEXT", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(empty_home.parent))
    path = empty_home.parent / "thinkube" / "config.toml"
    path.parent.mkdir()
    path.write_text(TEAM)
    return path


def test_the_order_in_which_a_context_is_chosen(file: Path, monkeypatch: pytest.MonkeyPatch):
    assert contexts.current("prod").name == "prod"
    monkeypatch.setenv("THINKUBE_CONTEXT", "prod")
    assert contexts.current("team").why == "the argument `context`"
    assert contexts.current().why == "the environment variable THINKUBE_CONTEXT"
    monkeypatch.delenv("THINKUBE_CONTEXT")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.152.183.1")
    assert (contexts.current().name, contexts.current().why) == ("team", str(file))
    file.unlink()
    assert contexts.current().name == "in-cluster"
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    assert contexts.current().name == "local"


@pytest.mark.usefixtures("file")
def test_a_context_gives_url_credential_and_settings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEAM_LLM_KEY", "sk-team")
    secrets.store("TEAM_MLFLOW_PASSWORD", "pass")
    llm, mlflow = find("llm"), find("mlflow")
    assert (llm.url, llm.credential) == ("https://llm.example.org/v1", Credential("sk-team"))
    assert llm.options == {"model": "qwen3-30b"}
    assert llm.source.startswith("the context team (")
    assert (mlflow.url, mlflow.credential) == ("https://mlflow.example.org", Credential("pass", "ada"))
    assert find("nats", context="prod").url == "nats://nats.example.org:4222"


@pytest.mark.usefixtures("file")
def test_the_environment_wins_within_a_context(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LITELLM_ENDPOINT", "http://gateway:4000")
    endpoint = find("llm")
    assert endpoint.source == "the environment variable LITELLM_ENDPOINT"
    assert endpoint.credential is None, "the context's secret belongs to the context's URL"


@pytest.mark.usefixtures("stack")
def test_a_context_connects_for_real_and_the_rest_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    local = find("qdrant")
    assert local.credential
    file = tmp_path / "thinkube" / "config.toml"
    file.parent.mkdir()
    file.write_text(f'[contexts.team.services]\nqdrant = {{ url = "{local.url}", secret = "TEAM_QDRANT" }}\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("THINKUBE_CONTEXT", "team")
    monkeypatch.setenv("TEAM_QDRANT", local.credential.secret)
    assert tk.qdrant().get_collections() is not None
    status = tk.status()
    assert status["qdrant"].health == "up"
    assert status["qdrant"].source == f"the context team ({file})"
    assert "the local stack" in status["nats"].source
    monkeypatch.setenv("TEAM_QDRANT", "of another service")
    with pytest.raises(CredentialRejected, match="the context team") as caught:
        tk.qdrant()
    assert "thinkube secret set" in caught.value.fix


def test_a_secret_that_is_not_set_names_the_line(file: Path):
    with pytest.raises(ConfigurationError, match="line 4: the secret that LiteLLM") as caught:
        find("llm")
    assert str(file) in caught.value.cause
    assert tk.status()["llm"].health == "misconfigured"


def test_what_a_context_does_not_name_says_so(file: Path):
    with pytest.raises(ServiceNotFound) as caught:
        find("qdrant")
    assert f"the context team ({file} names none)" in caught.value.cause


def test_a_deployed_agent_gets_the_variable_its_context_names(file: Path, monkeypatch: pytest.MonkeyPatch):
    assert file.exists()
    monkeypatch.setenv("TEAM_LLM_KEY", "sk-team")
    assert contexts.variables("llm") == ("TEAM_LLM_KEY",)
    assert contexts.variables("qdrant") == ()


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        ('context = "team\n', 1, "not valid TOML"),
        ('version = 1\ncontexts = "team"\n', 2, "contexts is not a table"),
        ('contexts.team.services.llm = "http://x"\n', 1, "is not a table"),
        ("[contexts.team]\n[context]\n", 2, "context is no text"),
        ("\n[contexts.team.services.mlfow]\nurl = 'http://x'\n", 2, "unknown key 'mlfow'"),
        ("[contexts.team.services.mlflow]\nurl = 'http://x'\napi-key = 'x'\n", 3, "unknown key 'api-key'"),
        ("[contexts.team]\nkubeconfig = 'x'\n", 2, "unknown key 'kubeconfig'"),
        ("[contexts.team.services.nats]\nsecret = 'TOKEN'\n", 1, "has no `url`"),
        ("[contexts.team.services.nats]\nurl = ''\n", 2, "url is no text"),
        ("[contexts.team.services.nats]\nurl = 4222\n", 2, "url is no text"),
        ("[contexts.t.services.nats]\nurl = 'nats://ada:s3cret@x'\n", 2, "a credential stands in the URL"),
        ("[contexts.t.services.llm]\nurl = 'http://x'\nsecret = 'sk-s3cret'\n", 3, "something else than"),
    ],
)
def test_a_malformed_file_names_the_line_and_what_is_allowed(file: Path, content: str, line: int, told: str):
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=told) as caught:
        find("nats")
    assert str(file) in caught.value.cause
    assert f"line {line}" in caught.value.cause
    assert caught.value.fix
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "allowed"),
    [
        ("[context.team]\n", "context = "),
        ("colour = 1\n", "Allowed: version, context, contexts."),
        ("[contexts.team.services.mlfow]\n", "Did you mean 'mlflow'? Allowed: llm, mlflow, langfuse"),
        (
            "[contexts.team.services.llm]\nurl='x'\nmodell='y'\n",
            "Did you mean 'model'? Allowed: url, secret, username, model, embedding_model.",
        ),
    ],
)
def test_a_wrong_key_lists_the_allowed_ones(file: Path, content: str, allowed: str):
    with pytest.raises(ConfigurationError) as caught:
        parse(file, content)
    assert allowed in caught.value.fix


def test_another_version_is_refused(file: Path):
    file.write_text("version = 7\n")
    with pytest.raises(ConfigurationError, match="has version 7; this Thinkube reads version 1"):
        find("nats")


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_what_is_no_text_file_is_refused(file: Path, content: bytes | None):
    file.unlink()
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="can't be read"):
        find("nats")


def test_an_unknown_context_gets_a_suggestion(file: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match="no context 'teem'") as caught:
        find("nats", context="teem")
    assert "Did you mean 'team'? Known: in-cluster, local, prod, team." in caught.value.fix
    monkeypatch.setenv("THINKUBE_CONTEXT", "production")
    with pytest.raises(ConfigurationError, match="THINKUBE_CONTEXT") as configured:
        find("nats")
    assert str(file) in configured.value.fix


def test_using_another_context_leaves_the_file_as_it_is_otherwise(file: Path):
    contexts.use("prod")
    assert contexts.current().name == "prod"
    assert file.read_text() == TEAM.replace('context = "team"   # chosen by hand', 'context = "prod"')
    with pytest.raises(UsageError, match="no context 'prodd'"):
        contexts.use("prodd")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'version = 1\ncontext = "local"\n'),
        ("# mine\n", '# mine\ncontext = "local"\n'),
        ("[contexts.a]\n", 'context = "local"\n\n[contexts.a]\n'),
        (
            'version = 1\n\n[contexts.a]\nx = "y"',
            'version = 1\n\ncontext = "local"\n\n[contexts.a]\nx = "y"\n',
        ),
        ('# context = "a"\ncontext = "b"\n', '# context = "a"\ncontext = "local"\n'),
    ],
)
def test_choosing_writes_one_line(before: str, after: str):
    assert choose(before, "local") == after
