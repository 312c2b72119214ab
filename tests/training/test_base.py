"""What is said of a base, and of this machine, before a model is loaded."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path

import pytest

from thinkube.errors import AdapterMismatch, BaseNotFound, MachineTooSmall
from thinkube.model.recipe import recipe
from thinkube.training.base import look, memory_needed
from thinkube.training.machine import Machine, check, machine

WEIGHT = "model.layers.0.self_attn.q_proj"
BASICS = {"name": "router", "base": "smollm2", "data": "rows.jsonl"}


def write(
    folder: Path, config: dict[str, object], tensors: dict[str, tuple[int, ...]], name: str = "config.json"
) -> Path:
    """A model of zeros, as safetensors."""
    folder.mkdir()
    header, offset = {}, 0
    for tensor, shape in tensors.items():
        size = 4 * prod(shape)
        header[tensor] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))
    (folder / name).write_text(json.dumps(config))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    config = {"hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 100}
    return write(tmp_path / "base", config, {f"{WEIGHT}.weight": (8, 8), "embed": (100, 8)})


def adapter(folder: Path, base: Path, inputs: int) -> Path:
    stem = f"base_model.model.{WEIGHT}"
    shapes: dict[str, tuple[int, ...]] = {
        f"{stem}.lora_A.weight": (4, inputs),
        f"{stem}.lora_B.weight": (8, 4),
    }
    return write(folder, {"base_model_name_or_path": str(base)}, shapes, "adapter_config.json")


def test_counts_a_models_parameters(model: Path) -> None:
    base = look(str(model))

    assert base is not None
    assert base.parameters == 8 * 8 + 100 * 8


def test_an_adapter_brings_its_base(model: Path, tmp_path: Path) -> None:
    base = look(str(adapter(tmp_path / "adapter", model, inputs=8)))

    assert base is not None
    assert (base.folder, base.adapter) == (model, tmp_path / "adapter")


def test_refuses_an_adapter_that_does_not_fit(model: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterMismatch, match=r"does not fit its base .*is 8 x 8, the adapter's A is 4 x 16"):
        look(str(adapter(tmp_path / "adapter", model, inputs=16)))


def test_refuses_an_adapter_without_its_base(tmp_path: Path) -> None:
    with pytest.raises(BaseNotFound, match=r"is an adapter for .*/gone, which is not there"):
        look(str(adapter(tmp_path / "adapter", tmp_path / "gone", inputs=8)))


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("./gone", "There is no model at"),
        ("gone.gguf", "There is no model at"),
        ("gone", "neither a folder nor a hub name"),
    ],
)
def test_refuses_a_base_that_is_not_there(base: str, said: str) -> None:
    with pytest.raises(BaseNotFound, match=said):
        look(base)


def test_a_hub_name_is_looked_for_later() -> None:
    assert look("Qwen/Qwen3-0.6B") is None


def test_refuses_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(BaseNotFound, match=r"config\.json is missing"):
        look(str(tmp_path))


def test_refuses_weights_that_are_cut_off(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    with pytest.raises(BaseNotFound, match="is cut off"):
        look(str(model))


def test_refuses_weights_that_are_damaged(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"\xff" * 64)

    with pytest.raises(BaseNotFound, match="is damaged"):
        look(str(model))


def test_refuses_a_gpu_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(MachineTooSmall, match="asks for one GPU; this machine has no GPU"):
        check(recipe(**BASICS, gpus=1), None, tmp_path, Machine((), 2**40))


def test_refuses_what_memory_does_not_hold(model: Path, tmp_path: Path) -> None:
    base = look(str(model))
    assert base is not None

    with pytest.raises(MachineTooSmall, match="with one row at once; 0 MiB are free"):
        check(recipe(**BASICS), base, tmp_path, Machine((), 1000))
    check(recipe(**BASICS), base, tmp_path, Machine((), 2**30))


def test_refuses_what_the_disk_does_not_hold(model: Path) -> None:
    base = look(str(model))
    assert base is not None

    with pytest.raises(MachineTooSmall, match="Checkpoints and the model take about"):
        check(recipe(**BASICS), base, Path("/proc"), Machine((), 2**40))


def test_more_rows_at_once_take_more_memory(model: Path) -> None:
    base = look(str(model))
    assert base is not None

    assert memory_needed(base, recipe(**BASICS, batch=16)) > memory_needed(base, recipe(**BASICS, batch=8))


def test_this_machine_has_memory() -> None:
    assert machine().memory > 2**28
