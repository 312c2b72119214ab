"""Values that are stored beside the source instead of being computed again."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from thinkube.model.capture import CapturedFile
from thinkube.model.errors import SourceRefused, UsageError


@dataclass(frozen=True)
class Frozen:
    """A stored value: its file, and the source that reads it back."""

    name: str
    file: CapturedFile
    load: str
    imports: tuple[str, ...]


def freeze_values(wanted: Collection[str], namespace: Mapping[str, object] | None) -> dict[str, Frozen]:
    """Store the values of these names. `"index:pickle"` asks for pickle by name.

    Raises:
        UsageError: there is no kernel that has the values, or no such name.
        SourceRefused: a value fits no safe format.
    """
    found: dict[str, Frozen] = {}
    for entry in wanted:
        name, _, way = entry.partition(":")
        if namespace is None:
            raise UsageError(
                f"freeze={name!r} needs the notebook's kernel: a file holds no values.",
                "Call tk.deploy(…, freeze=[…]) in the running notebook.",
            )
        if name not in namespace:
            raise UsageError(
                f"freeze names `{name}`, and the notebook has no such variable.", "Check the name."
            )
        if way not in {"", "pickle"}:
            raise UsageError(
                f"freeze={entry!r}: `{way}` is no way to store a value.",
                f"Write {name!r}, or '{name}:pickle'.",
            )
        found[name] = _freeze(name, namespace[name], way)
    return found


def _freeze(name: str, value: Any, way: str) -> Frozen:
    if way == "pickle":
        import pickle

        content = pickle.dumps(value, protocol=5)
        return _frozen(name, "pkl", content, "pickle.loads({path}.read_bytes())", "import pickle")
    pandas, numpy, torch = (sys.modules.get(module) for module in ("pandas", "numpy", "torch"))
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return _frozen(name, "parquet", _parquet(name, value), "pandas.read_parquet({path})", "import pandas")
    if numpy is not None and isinstance(value, numpy.ndarray) and not value.dtype.hasobject:
        buffer = io.BytesIO()
        numpy.save(buffer, value, allow_pickle=False)
        return _frozen(
            name, "npy", buffer.getvalue(), "numpy.load({path}, allow_pickle=False)", "import numpy"
        )
    if torch is not None and _tensors(value, torch):
        from safetensors.torch import save  # type: ignore[import-not-found, unused-ignore]

        content = save({key: tensor.detach().cpu().contiguous() for key, tensor in value.items()})
        load = "safetensors.torch.load({path}.read_bytes())"
        return _frozen(name, "safetensors", content, load, "import safetensors.torch")
    text = _json(value)
    if text is not None:
        return _frozen(name, "json", text.encode(), "json.loads({path}.read_text())", "import json")
    raise SourceRefused(
        f"`{name}` is a {type(value).__module__}.{type(value).__qualname__}, which no safe format holds "
        "(Parquet, npy, JSON, safetensors).",
        f"Freeze a plain value it is made from, or ask for pickle by name: freeze=['{name}:pickle'].",
    )


def _frozen(name: str, suffix: str, content: bytes, load: str, module: str) -> Frozen:
    path = f"data/{name}.{suffix}"
    here = f'(_Path(__file__).parent / "{path}")'
    file = CapturedFile(path, content, f"the frozen value of `{name}`")
    return Frozen(
        name, file, f"{name} = {load.format(path=here)}", ("from pathlib import Path as _Path", module)
    )


def _parquet(name: str, frame: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        frame.to_parquet(buffer)
    except (ImportError, ValueError, TypeError) as error:
        raise SourceRefused(
            f"`{name}` can't be stored as Parquet: {error}.", f"Use freeze=['{name}:pickle']."
        ) from error
    return buffer.getvalue()


def _tensors(value: Any, torch: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(tensor, torch.Tensor) for key, tensor in value.items())
    )


def _json(value: Any) -> str | None:
    """The value as JSON, if it comes back exactly as it is."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None
    return text if _exactly(json.loads(text), value) else None


def _exactly(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(_exactly(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_exactly, one, other))
    return bool(one == other)
