"""A tuned model behind OpenAI's API: the answers that transformers itself gives, to several at once."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from thinkube.targets.child import Child

_ADAPTER = """
import json, sys, torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
base, out = sys.argv[1:]
torch.manual_seed(1)
plain = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
model = get_peft_model(plain, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
for name, weight in model.named_parameters():
    if "lora_B" in name:
        torch.nn.init.normal_(weight, std=0.5)
tokenizer = AutoTokenizer.from_pretrained(base)
model.save_pretrained(out)
tokenizer.save_pretrained(out)
asked = [{"role": "user", "content": "Which module of Python is number 3?"}]
ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True, return_tensors="pt")
merged = model.merge_and_unload().eval()
made = merged.generate(**ids, max_new_tokens=24, do_sample=False)
print("RESULT", json.dumps(tokenizer.decode(made[0, ids["input_ids"].shape[1]:], skip_special_tokens=True)))
"""
_ASK: dict[str, Any] = {
    "model": "router",
    "messages": [{"role": "user", "content": "Which module of Python is number 3?"}],
    "max_tokens": 24,
}


@pytest.fixture(scope="module")
def adapter(python: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An adapter that changes what its base says, and what transformers answers with it."""
    folder = tmp_path_factory.mktemp("adapter") / "adapter"
    ran = subprocess.run(
        [python, "-c", _ADAPTER, str(tiny), str(folder)], check=True, capture_output=True, text=True
    )
    line = next(line for line in ran.stdout.splitlines() if line.startswith("RESULT "))
    return folder, json.loads(line[7:])


@pytest.fixture(scope="module")
def client(
    adapter: tuple[Path, str], python: Path, training_variables: Mapping[str, str], tmp_path_factory: Any
) -> Iterator[openai.OpenAI]:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    found = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)

    def ready() -> bool:
        try:
            return [each.id for each in found.models.list()] == ["router"]
        except openai.APIConnectionError:
            return False

    argv = [str(python), "-m", "thinkube.inference", str(adapter[0]), "--name", "router", "--port", str(port)]
    log = tmp_path_factory.mktemp("server") / "log"
    child = Child(argv, env=training_variables, log=log, ready=ready)
    try:
        child.wait_ready(120)
        yield found
    finally:
        child.stop()


def test_answers_as_transformers_does(client: openai.OpenAI, adapter: tuple[Path, str]) -> None:
    answer = client.chat.completions.create(**_ASK)

    assert answer.choices[0].message.content == adapter[1]
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_several_streams_at_once_say_the_same(client: openai.OpenAI, adapter: tuple[Path, str]) -> None:
    def stream(_number: int) -> str:
        parts = list(
            client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **_ASK)
        )
        assert parts[-1].usage is not None
        return "".join(part.choices[0].delta.content or "" for part in parts if part.choices)

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(stream, range(12))) == {adapter[1]}


def test_a_short_answer_does_not_wait_for_a_long_one(client: openai.OpenAI) -> None:
    long = client.chat.completions.create(
        **{**_ASK, "max_tokens": 1500}, temperature=2.0, seed=1, stream=True
    )
    with long:
        next(iter(long))
        short = client.chat.completions.create(**{**_ASK, "max_tokens": 2})
        assert short.usage is not None
        assert short.usage.completion_tokens <= 2


def test_a_seed_repeats_what_is_sampled_and_a_stop_text_ends_it(
    client: openai.OpenAI, adapter: tuple[Path, str]
) -> None:
    first, second = (
        client.chat.completions.create(temperature=1.5, seed=7, **_ASK).choices[0].message.content
        for _ in range(2)
    )
    assert first == second
    stop = adapter[1][2:4]
    ended = client.chat.completions.create(stop=stop, **_ASK).choices[0]
    assert ended.message.content == adapter[1].partition(stop)[0]
    assert ended.finish_reason == "stop"


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        ({"messages": []}, 400, "at least one message"),
        ({"messages": [{"role": "robot", "content": "a"}]}, 400, r"messages\[0\].role"),
        ({"messages": [{"role": "user", "content": None}]}, 400, r"messages\[0\].content"),
        ({"messages": [{"role": "user", "content": "word " * 9000}]}, 400, "and the model holds"),
        ({"temperature": 3}, 400, "temperature: 3 is not between 0 and 2"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"n": 2}, 400, "only one answer"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools: is not offered"),
        ({"model": "other"}, 404, "There is no model 'other' here; this is router"),
    ],
)
def test_says_what_is_wrong_with_a_request(
    client: openai.OpenAI, changed: dict[str, Any], status: int, said: str
) -> None:
    with pytest.raises(openai.APIStatusError, match=said) as caught:
        client.chat.completions.create(**{**_ASK, **changed})
    assert caught.value.status_code == status


def test_a_folder_without_a_model_is_refused(
    python: Path, training_variables: Mapping[str, str], tmp_path: Path
) -> None:
    argv = [python, "-m", "thinkube.inference", str(tmp_path), "--name", "router"]
    ran = subprocess.run(argv, env=training_variables, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "config.json is missing" in ran.stderr
    assert "Traceback" not in ran.stderr
