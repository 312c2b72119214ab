"""A fine-tuning run as data: what `tk.finetune` builds and `python -m thinkube.training` reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from thinkube.model.errors import UsageError

FORMAT: Literal[1] = 1
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

Chat = Literal["auto", "always", "never"]
Quantization = Literal["4bit", "8bit", "none"]
Output = Literal["adapter", "merged"]
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


class Recipe(BaseModel):
    """Everything that decides what a run does. The same recipe and rows give the same model.

    Every further setting of TRL, Unsloth and PEFT is reachable through `trainer`, `loader` and `lora`,
    which are handed on as they are and win over what the fields above them say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = FORMAT
    name: str = Field(description="The tuned model's name in the registry.")
    base: str = Field(
        description="A folder, a .gguf file, a hub name, or `models:/NAME/VERSION`.", min_length=1
    )
    data: str = Field(description="A .jsonl, .json, .csv or .parquet file with the rows.", min_length=1)
    evaluation_data: str | None = Field(None, description="Rows to evaluate on, instead of a held-out part.")
    columns: dict[str, str] = Field({}, description="Our column name to yours, such as {prompt: question}.")
    chat: Chat = Field("auto", description="Put plain prompts into the chat template: if there is one.")
    held_out: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="Part kept for evaluation.")

    quantization: Quantization = Field("4bit", description="How the frozen base is held in memory.")
    full: bool = Field(False, description="Train all weights instead of an adapter.")
    rank: Annotated[int, Field(ge=1)] = Field(16, description="LoRA's r.")
    alpha: Annotated[float, Field(gt=0)] = Field(16, description="LoRA's alpha.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="LoRA's dropout.")
    targets: tuple[str, ...] = Field(TARGETS, description="Modules that get an adapter.", min_length=1)
    max_length: Annotated[int, Field(ge=8)] = Field(2048, description="Tokens a row may have.")
    packing: bool = Field(False, description="Put several short rows into one (GPU only).")
    completions_only: bool = Field(True, description="Learn the answers, not the questions.")

    epochs: Annotated[float, Field(gt=0)] = Field(1.0, description="Passes over the data, without `steps`.")
    steps: Annotated[int, Field(ge=1)] | None = Field(None, description="Optimizer steps.")
    batch: Annotated[int, Field(ge=1)] = Field(8, description="Rows an optimizer step.")
    at_once: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Rows on the device at once; `batch` by default, halved when memory runs out."
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(2e-4, description="At the end of the warm-up.")
    schedule: str = Field("linear", description="A scheduler of transformers: linear, cosine, constant, …")
    warmup: Annotated[int, Field(ge=0)] = Field(5, description="Steps of warm-up.")
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    seed: int = 3407
    checkpoint_every: Annotated[int, Field(ge=1)] = Field(50, description="Steps between checkpoints.")

    gpus: Annotated[int, Field(ge=0, le=1)] | None = Field(
        None, description="None: one if there is one. 0: CPU."
    )
    evaluation_rows: Annotated[int, Field(ge=0)] = Field(50, description="Held-out rows to evaluate on.")
    answer_tokens: Annotated[int, Field(ge=1)] = Field(64, description="Longest answer in the evaluation.")
    outputs: tuple[Output, ...] = Field(
        ("adapter",), description="`merged`: 16-bit weights of their own, too."
    )
    experiment: str | None = Field(None, description="MLflow's experiment; the name by default.")

    trainer: dict[str, Any] = Field({}, description="Arguments of TRL's SFTConfig.")
    loader: dict[str, Any] = Field({}, description="Arguments of FastLanguageModel.from_pretrained.")
    lora: dict[str, Any] = Field({}, description="Arguments of FastLanguageModel.get_peft_model.")

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("use lower-case letters, digits, dots and hyphens, at most 63")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.at_once and self.batch % self.at_once:
            raise ValueError(f"batch ({self.batch}) has to be a multiple of at_once ({self.at_once})")
        if self.full and self.quantization != "none":
            raise ValueError("full: all weights can only be trained with quantization: none")
        return self

    def to_yaml(self) -> str:
        """The recipe as a file: what differs from the defaults."""
        chosen = {"format": FORMAT, **self.model_dump(mode="json", exclude_defaults=True)}
        return yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True)


def recipe(**settings: Any) -> Recipe:
    """A checked recipe.

    Raises:
        UsageError: a setting is unknown or its value is wrong; every one is named.

    Example:
        >>> recipe(name="router", base="smollm2", data="rows.jsonl", steps=60).rank
        16
    """
    try:
        return Recipe(**settings)
    except ValidationError as error:
        raise _refusal(error, "The recipe is not valid") from error


def read(path: Path) -> Recipe:
    """The recipe in a YAML file; paths in it are relative to the file.

    Raises:
        UsageError: no such file, no YAML, or not a recipe.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.", "Give the path of a recipe.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not YAML: {error}", "Write it as `setting: value`, one a line."
        ) from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} holds no settings.", "Write it as `setting: value`, one a line.")
    if document.get("format", FORMAT) != FORMAT:
        raise UsageError(
            f"{path} has format {document['format']}; this version of Thinkube reads {FORMAT}.",
            "Use the version of Thinkube that wrote it.",
        )
    for key in ("data", "evaluation_data", "base"):
        given = document.get(key)
        if isinstance(given, str) and (path.parent / given).exists():
            document[key] = str((path.parent / given).resolve())
    try:
        return Recipe(**document)
    except ValidationError as error:
        raise _refusal(error, f"{path} is not a valid recipe") from error


def _refusal(error: ValidationError, what: str) -> UsageError:
    from difflib import get_close_matches

    reasons, hints = [], []
    for each in error.errors():
        place = ".".join(str(part) for part in each["loc"])
        if each["type"] == "extra_forbidden":
            reasons.append(f"there is no setting {place!r}")
            near = get_close_matches(place, Recipe.model_fields, n=1)
            hints += [f"Did you mean {near[0]!r}?"] if near else []
        else:
            told = each["msg"].removeprefix("Value error, ")
            reasons.append(f"{place}: {told}" if place else told)
    hint = " ".join(hints) or "Settings of TRL, Unsloth and PEFT go into `trainer`, `loader` and `lora`."
    return UsageError(f"{what}: {'; '.join(reasons)}.", hint)
