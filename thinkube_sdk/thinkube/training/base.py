"""The base model, looked at before anything is loaded: whether it is there, how large it is, what fits it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

from thinkube.model.errors import AdapterMismatch, BaseNotFound
from thinkube.model.recipe import Recipe

_BYTES = {"4bit": 0.56, "8bit": 1.06, "none": 2.0}
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class Base:
    """A base model on disk.

    Attributes:
        folder: with `config.json` and weights; the adapter's own base where `adapter` is given.
        config: what `config.json` says.
        parameters: how many numbers it has.
        adapter: a folder with an adapter that training goes on from.
    """

    folder: Path
    config: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    parameters: int = 0
    adapter: Path | None = None


def look(base: str) -> Base | None:
    """What can be said of a base without loading it; None where it is a name, not a folder of this machine.

    Raises:
        BaseNotFound: the folder is not there, or holds no model.
        AdapterMismatch: it holds an adapter that does not fit the base it names.
    """
    folder = Path(base).expanduser()
    if not folder.exists():
        if base.startswith(("/", "./", "../", "~")) or folder.suffix == ".gguf":
            raise BaseNotFound(
                f"There is no model at {folder}.", "Give a folder with a model, or a hub name."
            )
        if base.startswith("models:/") or _is_hub_name(base):
            return None
        raise BaseNotFound(
            f"{base!r} is neither a folder nor a hub name.",
            "A hub name reads OWNER/MODEL, such as Qwen/Qwen3-0.6B.",
        )
    if folder.is_file():
        return None  # a .gguf file: turned into a folder when training starts
    if (folder / "adapter_config.json").is_file():
        return _adapter(folder)
    config = _json(folder / "config.json", folder)
    if not any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
        raise BaseNotFound(
            f"{folder} has a configuration but no weights.", "Copy the model's .safetensors files, too."
        )
    return Base(folder, config, sum(prod(shape) for _, shape in _shapes(folder)))


def memory_needed(base: Base, recipe: Recipe) -> int:
    """Bytes the run takes, estimated: weights, gradients, optimizer states, one batch of activations."""
    hidden = int(base.config.get("hidden_size", 0))
    layers = int(base.config.get("num_hidden_layers", 0))
    if recipe.full:
        held = base.parameters * (2 + 2 + 8.0)
    else:
        trained = 2 * layers * recipe.rank * len(recipe.targets) * hidden * 2
        held = base.parameters * _BYTES[recipe.quantization] + trained * 16
    # With gradient checkpointing a layer keeps its input (2 bytes a number); one layer's insides live.
    length = min(recipe.max_length, 512) if not recipe.packing else recipe.max_length
    tokens = (recipe.at_once or recipe.batch) * length
    return int(held + tokens * hidden * (2 * layers + 34))


def _adapter(folder: Path) -> Base:
    config = _json(folder / "adapter_config.json", folder)
    named = str(config.get("base_model_name_or_path") or "")
    below = Path(named).expanduser()
    if not named or not below.is_dir():
        if named and _is_hub_name(named):
            return Base(folder, adapter=folder)
        raise BaseNotFound(
            f"{folder} is an adapter for {named or 'a base it does not name'}, which is not there.",
            "Bring that base back, or correct base_model_name_or_path in its adapter_config.json.",
        )
    base = look(str(below))
    assert base is not None
    weights = dict(_shapes(below))
    for name, shape in _shapes(folder):
        stem, _, part = name.removeprefix("base_model.model.").rpartition(".lora_")
        weight = weights.get(f"{stem}.weight")
        if not stem:
            continue
        # A is rank x inputs, B is outputs x rank, for a weight of outputs x inputs.
        fits = weight and (weight[1] == shape[1] if part.startswith("A") else weight[0] == shape[0])
        if not fits:
            raise AdapterMismatch(
                f"The adapter in {folder} does not fit its base {below}: {stem} is "
                f"{_size(weight) if weight else 'not there'}, the adapter's {part[:1]} is {_size(shape)}.",
                "Use the base it was trained on, or train a new adapter.",
            )
    return Base(below, base.config, base.parameters, folder)


def _shapes(folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes in safetensors files: their headers, not their weights."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                (size,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(size))
            end = max(
                (each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"),
                default=0,
            )
        except (struct.error, ValueError, KeyError, OverflowError, MemoryError) as error:
            raise BaseNotFound(f"{path} is damaged: {error}", "Copy it again.") from error
        if path.stat().st_size < 8 + size + end:
            raise BaseNotFound(
                f"{path} is cut off: {path.stat().st_size} of {8 + size + end} bytes.", "Copy it again."
            )
        for name, each in header.items():
            if name != "__metadata__":
                yield name, tuple(each["shape"])


def _json(path: Path, folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise BaseNotFound(
            f"{folder} holds no model: {path.name} is missing.", "Give a model's folder."
        ) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise BaseNotFound(f"{path} is damaged: {error}", "Copy it again.") from error


def _is_hub_name(base: str) -> bool:
    owner, _, name = base.partition("/")
    return bool(owner and name) and "/" not in name and " " not in base


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
