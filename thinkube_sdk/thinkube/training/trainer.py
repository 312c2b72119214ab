"""TRL's trainer and what a run needs besides: whole checkpoints, progress, an end to NaN, memory to spare.

The one module that imports torch at its top; it is itself imported when a run begins.
"""

from __future__ import annotations

import gc
import math
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401 - has to come before transformers

# isort: on
import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from thinkube.model.errors import MachineTooSmall, TrainingDiverged
from thinkube.model.recipe import Recipe
from thinkube.training import checkpoints
from thinkube.training.loading import Loaded
from thinkube.training.state import Reporter
from thinkube.training.stopped import Stopped
from thinkube.training.tokens import Tokens

_KEPT = 2


@dataclass(frozen=True)
class Plan:
    """How a run goes through its rows."""

    steps: int
    at_once: int

    @classmethod
    def of(cls, recipe: Recipe, rows: int) -> Plan:
        """Steps and rows at once of a recipe."""
        in_epochs = max(1, round(recipe.epochs * math.ceil(rows / recipe.batch)))
        return cls(recipe.steps or in_epochs, recipe.at_once or recipe.batch)


class OutOfMemory(Exception):
    """A batch did not fit."""


def fit(
    loaded: Loaded,
    tokens: Tokens,
    recipe: Recipe,
    folder: Path,
    reporter: Reporter,
    *,
    metrics: Callable[[int, Mapping[str, float]], None],
    stopping: Callable[[], bool],
) -> None:
    """Train to the last step, from the last whole checkpoint if there is one.

    Args:
        folder: of the checkpoints.
        metrics: is told each step's metrics.
        stopping: whether to make a checkpoint after this step and end.

    Raises:
        TrainingDiverged: loss or gradient is not a number; the step is named.
        MachineTooSmall: not even one row at once fits.
        Stopped: `stopping` said so.
    """
    plan = Plan.of(recipe, len(tokens.rows))
    while True:
        watch = _Watch(plan, folder, reporter, metrics, stopping)
        trainer = _trainer(loaded, tokens, recipe, plan, folder, watch)
        start = checkpoints.latest(folder)
        if start:
            reporter.note(f"going on from step {checkpoints.step_of(start)}")
        short = _run(trainer, start)
        if short is None:
            break
        plan = _smaller(plan, recipe, trainer, folder, reporter, short)
        del trainer
        _free(loaded.model)
    if watch.stopped:
        raise Stopped


def _run(trainer: Any, start: Path | None) -> str | None:
    """Train; None when done, else why memory ran out."""
    try:
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    except OutOfMemory as error:
        return str(error)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise MachineTooSmall(
            f"Memory ran out between batches, at step {trainer.state.global_step + 1}: {_first_line(error)}",
            "Use a smaller base, a smaller rank, or quantization '4bit'.",
        ) from error
    return None


def _smaller(plan: Plan, recipe: Recipe, trainer: Any, folder: Path, reporter: Reporter, short: str) -> Plan:
    if plan.at_once == 1:
        raise MachineTooSmall(
            f"Memory runs out with one row at once: {short}",
            "Use a smaller base, quantization '4bit', or a shorter max_length.",
        )
    at_once = next(size for size in range(plan.at_once // 2, 0, -1) if recipe.batch % size == 0)
    step = trainer.state.global_step
    trainer.model.zero_grad(set_to_none=True)
    gc.collect()
    if step and not checkpoints.whole(folder / f"checkpoint-{step}"):
        # A failed batch changes no weight: what was learnt until then is kept.
        trainer._save_checkpoint(trainer.model, trial=None)
        checkpoints.seal(folder / f"checkpoint-{step}")
    reporter.note(
        f"out of memory at step {step + 1} with {plan.at_once} rows at once; going on with {at_once} "
        f"at once, {recipe.batch // at_once} times a step, which gives the same gradient ({short})"
    )
    return Plan(plan.steps, at_once)


def _trainer(loaded: Loaded, tokens: Tokens, recipe: Recipe, plan: Plan, folder: Path, watch: _Watch) -> Any:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": plan.steps,
        "per_device_train_batch_size": plan.at_once,
        "gradient_accumulation_steps": recipe.batch // plan.at_once,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": min(recipe.warmup, plan.steps // 2),
        "weight_decay": recipe.weight_decay,
        "max_length": recipe.max_length,
        "packing": recipe.packing,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": recipe.checkpoint_every,
        "save_total_limit": _KEPT,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available() or recipe.gpus == 0,
    }
    trainer = _Trainer(
        model=loaded.model,
        processing_class=loaded.tokenizer,
        train_dataset=Dataset.from_list(list(tokens.rows)),
        args=SFTConfig(**{**settings, **recipe.trainer}),
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    watch.trainer = trainer
    return trainer


class _Trainer(SFTTrainer):
    """Tells a batch that does not fit from everything else that can go wrong."""

    seen = 0

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        self.seen += (
            inputs["attention_mask"].sum() if "attention_mask" in inputs else inputs["input_ids"].numel()
        )
        try:
            return super().training_step(model, inputs, num_items_in_batch)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            # Without the original's frames, which keep the batch's tensors alive.
            reason = _first_line(error)
        raise OutOfMemory(reason)


class _Watch(TrainerCallback):
    """Reports each step, seals checkpoints, and ends the run when it has to."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        reporter: Reporter,
        metrics: Callable[[int, Mapping[str, float]], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._reporter = reporter
        self._metrics = metrics
        self._stopping = stopping
        self._began = self._last = time.monotonic()
        self._first = 0
        self.stopped = False
        self.trainer: Any = None

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        self._began = self._last = time.monotonic()
        self._first = state.global_step
        self._reporter.say(phase="training", step=state.global_step, steps=self._plan.steps)

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._stopping() and state.global_step < self._plan.steps:
            self.stopped = control.should_training_stop = control.should_save = True

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Mapping[str, Any], **_: Any) -> None:
        if "loss" not in logs:
            return
        step, now = state.global_step, time.monotonic()
        values = {key: float(logs[key]) for key in ("loss", "grad_norm", "learning_rate") if key in logs}
        for key in ("loss", "grad_norm"):
            if not math.isfinite(values.get(key, 0.0)):
                raise _diverged(key, values, step, self._folder)
        values["seconds"] = now - self._last
        values["tokens_per_second"] = self._tokens() / max(now - self._last, 1e-9)
        self._last = now
        pace = (now - self._began) / max(step - self._first, 1)
        memory = _peak_memory()
        self._reporter.say(
            step=step,
            loss=values["loss"],
            tokens_per_second=values["tokens_per_second"],
            seconds_left=pace * (self._plan.steps - step),
            memory=memory,
        )
        print(f"thinkube: step {step}/{self._plan.steps} loss {values['loss']:.4f}", flush=True)
        self._reporter.metrics(step, values)
        self._metrics(step, {**values, "memory_bytes": float(memory)})

    def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        checkpoints.seal(self._folder / f"checkpoint-{state.global_step}")

    def _tokens(self) -> int:
        seen = int(self.trainer.seen)
        self.trainer.seen = 0
        return seen


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is an allocator's: CUDA's has a class, the others only words."""
    words = ("can't allocate memory", "out of memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error).lower() for word in words)


def _diverged(key: str, values: Mapping[str, float], step: int, folder: Path) -> TrainingDiverged:
    what = {"loss": "The loss", "grad_norm": "The gradient"}[key]
    start = checkpoints.latest(folder)
    before = (
        f"step {checkpoints.step_of(start)} is the last checkpoint" if start else "there is no checkpoint yet"
    )
    rate = values.get("learning_rate", 0.0)
    return TrainingDiverged(
        f"{what} is {values[key]} at step {step} (learning rate {rate:.2g}); {before}.",
        "Lower learning_rate, lengthen warmup, or look at that step's rows.",
    )


def _peak_memory() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _free(model: Any) -> None:
    model.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
