"""A base to train that is made here: no hub can be reached, and a run should take seconds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from thinkube.targets.jobs_environment import lay_out_sdk, training_python

_TINY = """
import sys, torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers, decoders
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
out, wide = sys.argv[1], int(sys.argv[2])
plain = Tokenizer(models.BPE())
plain.pre_tokenizer, plain.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=400, special_tokens=["<pad>", "<s>", "</s>"], show_progress=False,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
plain.train_from_iterator(["Which module of Python is number"] * 4, trainer)
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=plain, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
tokenizer.chat_template = (
    "{% for message in messages %}<s>{{ message['role'] }}: {{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=64, intermediate_size=wide, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    tie_word_embeddings=True))
model.save_pretrained(out)
tokenizer.save_pretrained(out)
"""


@pytest.fixture(scope="session")
def python() -> Path:
    """The Python that training runs on; made on the first run of all, then taken from the cache."""
    return training_python()


@pytest.fixture(scope="session")
def tiny(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers, with a chat template."""
    return _model(python, tmp_path_factory.mktemp("tiny") / "tiny", 128)


@pytest.fixture(scope="session")
def wide(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose activations outweigh all else."""
    return _model(python, tmp_path_factory.mktemp("wide") / "wide", 8192)


@pytest.fixture(scope="session")
def training_variables(home: Path) -> Mapping[str, str]:
    """The environment of a process that trains."""
    lay_out_sdk(home / "sdk")
    return {**os.environ, "PYTHONPATH": str(home / "sdk"), "PYTHONUNBUFFERED": "1"}


def _model(python: Path, folder: Path, width: int) -> Path:
    subprocess.run([python, "-c", _TINY, str(folder), str(width)], check=True, capture_output=True)
    return folder
