"""What the gateway serves beside the local models."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from thinkube.services import state
from thinkube.services.state import State
from thinkube.stack.programs import PROGRAMS


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
