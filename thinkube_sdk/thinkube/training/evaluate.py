"""Base and tuned model on the same held-out rows: loss, exact answers, and a table of examples."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from thinkube.model.evaluation import Evaluation, Example
from thinkube.model.recipe import Recipe
from thinkube.training.loading import Loaded
from thinkube.training.rows import Row
from thinkube.training.split import digest, question
from thinkube.training.tokens import IGNORED, Tokenizer, answer, messages

_AT_ONCE = 8
_SHOWN = 20


def chosen(rows: Sequence[Row], recipe: Recipe) -> tuple[Row, ...]:
    """The rows to measure on: the same ones whatever their order."""
    return tuple(sorted(rows, key=question)[: recipe.evaluation_rows])


def measure(
    loaded: Loaded, tokenizer: Tokenizer, rows: Sequence[Row], recipe: Recipe
) -> tuple[dict[str, float], list[str]]:
    """Metrics of a model as it is, and its answers (none for plain text)."""
    from unsloth import FastLanguageModel

    FastLanguageModel.for_inference(loaded.model)
    try:
        metrics = {"loss": _loss(loaded, tokenizer, rows)}
        answers: list[str] = []
        if "text" not in rows[0]:
            answers = _answers(loaded, tokenizer, rows, recipe.answer_tokens)
            hits = [_plain(said) == _plain(answer(row)) for said, row in zip(answers, rows, strict=True)]
            metrics["exact_match"] = sum(hits) / len(hits)
    finally:
        FastLanguageModel.for_training(loaded.model)
    return metrics, answers


def evaluate(
    loaded: Loaded,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    recipe: Recipe,
    base: tuple[dict[str, float], list[str]] | None = None,
) -> Evaluation:
    """Measure the tuned model, and its base unless that was done before.

    Args:
        base: what `measure` gave for the base, where its weights are gone by now.
    """
    after, tuned = measure(loaded, tokenizer, rows, recipe)
    if base is None:
        with _without_adapter(loaded.model):
            base = measure(loaded, tokenizer, rows, recipe)
    before, said = base
    examples = [
        Example(_shown(row), answer(row), first, second)
        for row, first, second in zip(rows, said, tuned, strict=False)
    ]
    return Evaluation(
        len(rows), digest(rows), MappingProxyType(before), MappingProxyType(after), tuple(examples[:_SHOWN])
    )


def document(evaluation: Evaluation) -> Mapping[str, Any]:
    """An evaluation as JSON."""
    return {
        "rows": evaluation.rows,
        "digest": evaluation.digest,
        "base": dict(evaluation.base),
        "tuned": dict(evaluation.tuned),
        "examples": [vars(example) for example in evaluation.examples],
    }


@contextlib.contextmanager
def _without_adapter(model: Any) -> Iterator[None]:
    with model.disable_adapter():
        yield


def _loss(loaded: Loaded, tokenizer: Tokenizer, rows: Sequence[Row]) -> float:
    """Nats a token over all that would be learnt."""
    import torch

    total, count = 0.0, 0
    for ids, labels in map(tokenizer.row, rows):
        ids, labels = ids[: tokenizer.max_length], labels[: tokenizer.max_length]
        learnt = sum(label != IGNORED for label in labels[1:])
        if not learnt:
            continue
        device = loaded.model.device
        with torch.no_grad():
            loss = loaded.model(
                input_ids=torch.tensor([ids], device=device), labels=torch.tensor([labels], device=device)
            ).loss
        total, count = total + float(loss) * learnt, count + learnt
    return total / max(count, 1)


def _answers(loaded: Loaded, tokenizer: Tokenizer, rows: Sequence[Row], longest: int) -> list[str]:
    import torch

    native, said = tokenizer.native, []
    for start in range(0, len(rows), _AT_ONCE):
        prompts = [tokenizer.prompt(row)[-tokenizer.max_length :] for row in rows[start : start + _AT_ONCE]]
        width = max(map(len, prompts))
        # Padded on the left: what is generated follows the prompt.
        ids = torch.tensor([[native.pad_token_id] * (width - len(each)) + each for each in prompts])
        mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in prompts])
        with torch.no_grad():
            made = loaded.model.generate(
                input_ids=ids.to(loaded.model.device),
                attention_mask=mask.to(loaded.model.device),
                max_new_tokens=longest,
                do_sample=False,
                pad_token_id=native.pad_token_id,
                eos_token_id=native.eos_token_id,
            )
        said += [text.strip() for text in native.batch_decode(made[:, width:], skip_special_tokens=True)]
    return said


def _shown(row: Row) -> str:
    return "\n".join(str(message["content"]) for message in messages(row)[:-1])


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
