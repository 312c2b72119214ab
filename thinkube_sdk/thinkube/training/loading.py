"""Model and tokenizer through Unsloth, with a new adapter or one that training goes on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkube.model.errors import BaseNotFound
from thinkube.model.recipe import Recipe
from thinkube.training.base import look


@dataclass(frozen=True)
class Loaded:
    """A model that can be trained, and its tokenizer."""

    model: Any
    tokenizer: Any


def local_base(recipe: Recipe, cache: Path) -> str:
    """Where the base is on this machine: fetched from the registry or a hub, or unpacked from GGUF, once.

    Raises:
        BaseNotFound: it is in none of these places.
    """
    if recipe.base.endswith(".gguf"):
        return str(_from_gguf(Path(recipe.base).expanduser(), cache))
    if recipe.base.startswith("models:/"):
        return str(_from_registry(recipe.base, cache))
    if look(recipe.base) is None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        revision = recipe.loader.get("revision")
        wanted = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
        try:
            return str(snapshot_download(recipe.base, revision=revision, allow_patterns=wanted))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise BaseNotFound(
                f"{recipe.base} is not a folder here, and the hub does not give it: {reason}",
                "Check the name; for a private model set HF_TOKEN; without a network give a model's folder.",
            ) from error
    return str(Path(recipe.base).expanduser().resolve())


def load(recipe: Recipe, base: str, adapter: Path | None = None) -> Loaded:
    """Load the base and put an adapter on it.

    Args:
        base: a folder; one with an adapter brings its own base along.
        adapter: an adapter of an earlier attempt at this run.
    """
    from unsloth import FastLanguageModel

    arguments: dict[str, Any] = {
        "max_seq_length": recipe.max_length,
        "load_in_4bit": recipe.quantization == "4bit",
        "load_in_8bit": recipe.quantization == "8bit",
        "full_finetuning": recipe.full,
    }
    source = str(adapter) if adapter else base
    model, native = FastLanguageModel.from_pretrained(source, **{**arguments, **recipe.loader})
    tokenizer = mend(native, model.config)
    goes_on = adapter is not None or (Path(base) / "adapter_config.json").is_file()
    if recipe.full:
        return Loaded(model, tokenizer)
    if goes_on:
        return Loaded(FastLanguageModel.for_training(model) or model, tokenizer)
    lora: dict[str, Any] = {
        "r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "lora_dropout": recipe.dropout,
        "target_modules": list(recipe.targets),
        "random_state": recipe.seed,
        "use_gradient_checkpointing": "unsloth",
        "max_seq_length": recipe.max_length,
    }
    return Loaded(FastLanguageModel.get_peft_model(model, **{**lora, **recipe.lora}), tokenizer)


def tokenizer_of(base: str, recipe: Recipe) -> Any:
    """The base's tokenizer alone: tokens are counted before the model is loaded."""
    import unsloth  # noqa: F401 - patches transformers, so it comes first
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    known = look(base)
    config = AutoConfig.from_pretrained(str(known.folder) if known else base)
    trusted = bool(recipe.loader.get("trust_remote_code", False))
    return mend(AutoTokenizer.from_pretrained(base, trust_remote_code=trusted), config)


def mend(tokenizer: Any, config: Any) -> Any:
    """Give a tokenizer the end of text that its model was trained with, and something to pad with."""
    end = getattr(config, "eos_token_id", None)
    end = end[0] if isinstance(end, list) and end else end
    if (
        isinstance(end, int)
        and end != tokenizer.eos_token_id
        and tokenizer.eos_token_id in (None, tokenizer.bos_token_id)
    ):
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    if tokenizer.pad_token_id is None:
        spare = tokenizer.unk_token if tokenizer.unk_token != tokenizer.eos_token else None
        tokenizer.pad_token = spare or tokenizer.eos_token
    return tokenizer


def _from_gguf(path: Path, cache: Path) -> Path:
    """Weights in 16 bit out of a GGUF file. What was quantized stays as coarse as it was."""
    from hashlib import sha256

    if not path.is_file():
        raise BaseNotFound(f"There is no file {path}.", "Give the path of a .gguf file.")
    stat = path.stat()
    key = sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    folder = cache / "models" / f"{path.stem}-{key}"
    if (folder / "config.json").is_file():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    # Otherwise transformers saves it as if it were still quantized.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.is_quantized = False
    scratch = folder.with_name(f".{folder.name}")
    model.to(torch.bfloat16).save_pretrained(scratch)
    mend(tokenizer, model.config).save_pretrained(scratch)
    scratch.rename(folder)
    return folder


def _from_registry(uri: str, cache: Path) -> Path:
    from mlflow import MlflowClient, artifacts
    from mlflow.exceptions import MlflowException

    _, _, name, version = (
        uri.replace("models:/", "models://").split("/", 3) if uri.count("/") == 2 else ("", "", "", "")
    )
    try:
        if not version.isdigit():
            raise BaseNotFound(f"{uri} names no version.", "Write it as models:/NAME/VERSION.")
        found = MlflowClient().get_model_version(name, version)
        folder = cache / "models" / f"{name}-{found.tags.get('thinkube.digest', version)[:16]}"
        if not folder.exists():
            scratch = folder.with_name(f".{folder.name}")
            artifacts.download_artifacts(found.source, dst_path=str(scratch))
            inner = scratch / "model" if (scratch / "model").is_dir() else scratch
            inner.rename(folder)
        return folder
    except MlflowException as error:
        raise BaseNotFound(
            f"MLflow does not give {uri}: {error.message}", "See the registered models."
        ) from error
