"""A recipe says everything that decides a run, and refuses what it can't mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from thinkube.errors import UsageError
from thinkube.model.recipe import read, recipe

BASICS = {"name": "router", "base": "smollm2", "data": "rows.jsonl"}


def test_is_the_same_after_yaml(tmp_path: Path) -> None:
    made = recipe(**BASICS, steps=60, targets=("q_proj",), trainer={"neftune_noise_alpha": 5})
    (tmp_path / "recipe.yaml").write_text(made.to_yaml())

    assert read(tmp_path / "recipe.yaml") == made


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "rows.jsonl").write_text("")
    (tmp_path / "recipe.yaml").write_text(recipe(**BASICS).to_yaml())

    assert read(tmp_path / "recipe.yaml").data == str(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learning_rat": 1}, "there is no setting 'learning_rat'.*Did you mean 'learning_rate'"),
        ({"learning_rate": -1}, "learning_rate: Input should be greater than 0"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"name": "My Model"}, "name: use lower-case letters"),
        ({"batch": 8, "at_once": 3}, "has to be a multiple of at_once"),
        ({"full": True}, "with quantization: none"),
        ({"chat": "perhaps"}, "chat: Input should be 'auto', 'always' or 'never'"),
        ({"steps": 0, "held_out": 1.5}, "held_out.*steps"),
    ],
)
def test_refuses_what_it_cannot_mean(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){said}"):
        recipe(**{**BASICS, **settings})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"- a\n", "holds no settings"),
        (b"a: [\n", "is not YAML"),
        (b"\xff\xfe", "is not YAML"),
        (b"format: 2\n", "has format 2"),
        (b"name: router\n", "base: Field required"),
    ],
)
def test_says_what_is_wrong_with_a_file(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "recipe.yaml").write_bytes(content)

    with pytest.raises(UsageError, match=said):
        read(tmp_path / "recipe.yaml")


def test_says_that_a_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read"):
        read(tmp_path / "recipe.yaml")
