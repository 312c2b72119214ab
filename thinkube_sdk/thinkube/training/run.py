"""A run from recipe to registered model, every stage of it taken up again after a crash."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal

from thinkube.model import settings
from thinkube.model.errors import DataInvalid, ThinkubeError, UsageError
from thinkube.model.recipe import Recipe
from thinkube.training import base as bases
from thinkube.training import checkpoints, evaluate
from thinkube.training import machine as machines
from thinkube.training.data import rows_of
from thinkube.training.loading import Loaded, load, local_base, tokenizer_of
from thinkube.training.rows import Rows, check
from thinkube.training.split import Split, digest, split
from thinkube.training.state import Reporter, write_json
from thinkube.training.stopped import Stopped
from thinkube.training.tokens import Tokenizer, Tokens
from thinkube.training.tracking import Registered, Tracking, track

Stage = Literal["prepare", "train", "evaluate", "register"]
STAGES: tuple[Stage, ...] = ("prepare", "train", "evaluate", "register")


@dataclass(frozen=True)
class Result:
    """The tuned model.

    Attributes:
        model: folder with the adapter (or the weights, if all were trained).
        digest: sha256 over its files.
        registered: its version in MLflow; None where no MLflow is known.
    """

    name: str
    model: str
    digest: str
    registered: Registered | None
    lineage: Mapping[str, str]


def run(recipe: Recipe, work: Path, name: str | None = None, stage: Stage | None = None) -> Result | None:
    """Train, evaluate and register. In a folder where this was begun before, go on from there.

    Args:
        work: where state, checkpoints and the model are kept; it belongs to this recipe and its rows.
        name: of the job.
        stage: do this part alone, as a workflow's pods do; those before it were done in the same folder.

    Returns:
        The tuned model; None from a stage before the last.

    Raises:
        TrainingError: what the data, the base, the machine or the loss make impossible.
        ServiceError: MLflow is known and can't be used.
        UsageError: `work` belongs to another recipe.
    """
    work.mkdir(parents=True, exist_ok=True)
    reporter = Reporter(work)
    stop = _Stop()
    tracking: Tracking | None = None
    try:
        reporter.say(error=None)
        reporter.phase("preparing")
        rows = prepare(recipe)
        if stage in (None, "train"):
            machines.check(recipe, bases.look(recipe.base), work, machines.machine())
        _own(work, recipe, rows)
        tracking = track(recipe, name or work.name, reporter.state.run)
        reporter.say(run=tracking.run if tracking else None)
        result = _stages(recipe, rows, work, reporter, tracking, stop, stage)
    except BaseException as error:
        _fail(reporter, tracking, error)
        raise
    if result is None:
        reporter.note(f"the stage `{stage}` is done")
        return None
    reporter.phase("finished", _summary(result))
    if tracking:
        tracking.end("FINISHED")
    return result


def prepare(recipe: Recipe) -> Split:
    """The recipe's rows, checked and split.

    Raises:
        DataInvalid: they can't be trained on.
    """
    rows = _rows(recipe, recipe.data)
    evaluation = _rows(recipe, recipe.evaluation_data) if recipe.evaluation_data else None
    parted = split(rows, recipe.held_out, evaluation)
    if not parted.train:
        raise DataInvalid("No row is left to learn from.", "Give more rows, or other evaluation data.")
    return parted


def _rows(recipe: Recipe, data: str) -> Rows:
    found, source = rows_of(data)
    return check(found, recipe.columns, source)


def _stages(
    recipe: Recipe,
    rows: Split,
    work: Path,
    reporter: Reporter,
    tracking: Tracking | None,
    stop: _Stop,
    stage: Stage | None,
) -> Result | None:
    base = local_base(recipe, settings.cache())
    if stage in (None, "train"):
        machines.check(recipe, bases.look(base), work, machines.machine())
    tokenizer = Tokenizer(tokenizer_of(base, recipe), recipe.chat, recipe.max_length, recipe.completions_only)
    if stage in (None, "prepare", "train"):
        tokens = _count(tokenizer, rows, reporter)
    if tracking and stage in (None, "prepare"):
        tracking.describe(recipe, rows, _environment(), _code())
    if stage == "prepare":
        return None
    model = work / "model"
    done = checkpoints.whole(model)
    if not done and stage in ("evaluate", "register"):
        raise UsageError(f"{model} is not there yet.", "Run the stage `train` in the same folder first.")
    if stage is None or stage == "evaluate" or (stage == "train" and not done):
        reporter.phase("loading", base)
        loaded = load(recipe, base, model if done else None)
        before = _before(recipe, loaded, tokenizer, rows, work)
        if not done:
            _train(recipe, loaded, tokens, work, reporter, tracking, stop)
            _save(loaded, model)
        if stage != "train":
            _evaluate(recipe, loaded, tokenizer, rows, before, work, reporter, tracking)
    if stage in ("train", "evaluate"):
        return None
    return _register(recipe, rows, base, model, tokenizer, work, reporter, tracking)


def _evaluate(
    recipe: Recipe,
    loaded: Loaded,
    tokenizer: Tokenizer,
    rows: Split,
    before: tuple[dict[str, float], list[str]] | None,
    work: Path,
    reporter: Reporter,
    tracking: Tracking | None,
) -> None:
    if not (rows.held_out and recipe.evaluation_rows):
        return
    held = evaluate.chosen(rows.held_out, recipe)
    reporter.phase("evaluating", f"{len(held)} held-out rows")
    evaluation = evaluate.evaluate(loaded, tokenizer, held, recipe, before)
    write_json(work / "evaluation.json", evaluate.document(evaluation))
    if tracking:
        tracking.evaluation(evaluation)


def _register(
    recipe: Recipe,
    rows: Split,
    base: str,
    model: Path,
    tokenizer: Tokenizer,
    work: Path,
    reporter: Reporter,
    tracking: Tracking | None,
) -> Result:
    lineage = _lineage(recipe, rows, base, tracking)
    reporter.phase("registering")
    if "merged" in recipe.outputs and not recipe.full:
        _merge(base, model, tokenizer.native)
    signed = checkpoints.tree_digest(model)
    registered = tracking.register(recipe.name, model, signed, lineage) if tracking else None
    result = Result(recipe.name, str(model), signed, registered, lineage)
    write_json(work / "result.json", {"format": 1, **asdict(result)})
    return result


def _count(tokenizer: Tokenizer, rows: Split, reporter: Reporter) -> Tokens:
    tokens = tokenizer.rows(rows.train)
    if not tokens.rows:
        raise DataInvalid(
            f"No row has anything to learn within {tokenizer.max_length} tokens.", "Raise max_length."
        )
    said = [
        f"{len(tokens.rows)} rows to learn from, {len(rows.held_out)} held out; "
        f"{tokens.total} tokens, {tokens.learnt} of them learnt; the longest row has {tokens.longest}"
    ]
    if tokens.truncated:
        some = ", ".join(map(str, tokens.truncated[:5])) + (", …" if len(tokens.truncated) > 5 else "")
        said.append(
            f"{len(tokens.truncated)} longer than max_length {tokenizer.max_length} are cut (rows {some})"
        )
    if tokens.dropped:
        said.append(f"{tokens.dropped} dropped: nothing to learn is left of them")
    if rows.duplicates:
        said.append(f"{rows.duplicates} are there more than once")
    if rows.leaked:
        said.append(f"{rows.leaked} left out, as the evaluation data asks the same")
    reporter.note("; ".join(said))
    return tokens


def _train(
    recipe: Recipe,
    loaded: Loaded,
    tokens: Tokens,
    work: Path,
    reporter: Reporter,
    tracking: Tracking | None,
    stop: _Stop,
) -> None:
    from thinkube.training.trainer import fit

    def send(step: int, values: Mapping[str, float]) -> None:
        if tracking:
            tracking.metrics(step, values)

    reporter.phase("training")
    fit(loaded, tokens, recipe, work / "checkpoints", reporter, metrics=send, stopping=lambda: stop.asked)
    if tracking:
        tracking.drain()


def _before(
    recipe: Recipe, loaded: Loaded, tokenizer: Tokenizer, rows: Split, work: Path
) -> tuple[dict[str, float], list[str]] | None:
    """Training all weights leaves no base to measure afterwards: measure it first, once."""
    if not (recipe.full and rows.held_out and recipe.evaluation_rows):
        return None
    kept = work / "base.json"
    if kept.exists():
        document = json.loads(kept.read_text(encoding="utf-8"))
        return document["metrics"], document["answers"]
    metrics, answers = evaluate.measure(loaded, tokenizer, evaluate.chosen(rows.held_out, recipe), recipe)
    write_json(kept, {"metrics": metrics, "answers": answers})
    return metrics, answers


def _save(loaded: Loaded, model: Path) -> None:
    scratch = model.with_name(f".{model.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(model, ignore_errors=True)
    loaded.model.save_pretrained(str(scratch))
    loaded.tokenizer.save_pretrained(str(scratch))
    described = scratch / "adapter_config.json"
    if described.exists():
        # PEFT writes a set, in an order of chance: the same model would get another digest.
        config = json.loads(described.read_text(encoding="utf-8"))
        if isinstance(config["target_modules"], list):
            config["target_modules"].sort()
        write_json(described, config)
    checkpoints.seal(scratch)
    scratch.rename(model)


def _merge(base: str, model: Path, tokenizer: Any) -> None:
    """16-bit weights with the adapter in them, beside the adapter."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    known = bases.look(base)
    folder = str(known.folder) if known else base
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    merged = PeftModel.from_pretrained(plain, str(model)).merge_and_unload()
    merged.save_pretrained(str(model / "merged"))
    tokenizer.save_pretrained(str(model / "merged"))
    checkpoints.seal(model)


def _lineage(recipe: Recipe, rows: Split, base: str, tracking: Tracking | None) -> dict[str, str]:
    facts = {
        "base": recipe.base,
        "base_config": _config_digest(base),
        "data": digest(rows.train),
        "evaluation_data": digest(rows.held_out),
        "rows": str(len(rows.train)),
    }
    return facts | ({"run": tracking.run} if tracking else {})


def _config_digest(base: str) -> str:
    known = bases.look(base)
    return checkpoints.file_digest((known.folder if known else Path(base)) / "config.json")


def _own(work: Path, recipe: Recipe, rows: Split) -> None:
    """A folder belongs to one recipe and its rows: another's checkpoints look right and are wrong."""
    mine = {
        "recipe": recipe.model_dump(mode="json", exclude={"data", "evaluation_data"}),
        "data": digest(rows.train),
    }
    path = work / "identity.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != mine:
        raise UsageError(
            f"{work} holds a run of another recipe or of other rows.",
            "Start a new job, or give another folder with --work.",
        )
    write_json(path, mine)


def _environment() -> str:
    pins = sorted({f"{each.metadata['Name']}=={each.version}" for each in distributions()}, key=str.casefold)
    return f"# Python {sys.version.split()[0]}\n" + "\n".join(pins) + "\n"


def _code() -> dict[str, str]:
    folder = Path(__file__).parent
    return {
        f"thinkube/training/{path.name}": path.read_text(encoding="utf-8")
        for path in sorted(folder.glob("*.py"))
    }


def _fail(reporter: Reporter, tracking: Tracking | None, error: BaseException) -> None:
    if isinstance(error, Stopped):
        reporter.phase("stopped", f"at step {reporter.state.step}; it can be resumed")
        _end(tracking, "KILLED")
        return
    cause, fix = (
        (error.cause, error.fix)
        if isinstance(error, ThinkubeError)
        else (f"{type(error).__name__}: {error}", "See the log.")
    )
    reporter.say(error={"type": type(error).__name__, "cause": cause, "fix": fix})
    reporter.phase("failed", cause)
    _end(tracking, "FAILED")


def _end(tracking: Tracking | None, status: str) -> None:
    if tracking:
        tracking.drain()
        tracking.end(status)


def _summary(result: Result) -> str:
    if result.registered:
        return f"{result.name} version {result.registered.version} is registered in MLflow"
    return f"{result.name} is in {result.model}; no MLflow is known, so it is not registered"


class _Stop:
    """Set by SIGTERM and SIGINT: the run then ends after its step, with a checkpoint."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked = True
