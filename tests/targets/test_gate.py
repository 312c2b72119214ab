"""The evaluation gate: what answers too badly never takes traffic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import thinkube as tk
from thinkube.errors import EvaluationFailed, UsageError
from thinkube.targets.deployment import Deployment

ROWS = [
    {"input": "France", "expected": "Paris"},
    {"input": "Italy", "expected": "Rome"},
    {"input": "Japan", "expected": "Tokyo"},
    {"input": "Peru", "expected": "Lima"},
]


def agent(folder: Path, known: dict[str, str]) -> Path:
    body = "def agent(country: str) -> dict[str, str]:\n    return {'answer': CAPITALS[country]}\n"
    (folder / "capitals.py").write_text(f"CAPITALS = {known!r}\n\n{body}")
    return folder / "capitals.py"


def deploy(folder: Path, known: int, rows: object = ROWS, **options: object) -> tuple[Deployment, list[str]]:
    said: list[str] = []
    path = agent(folder, {str(row["input"]): str(row["expected"]) for row in ROWS[:known]})
    made = tk.deploy(
        path,
        object="agent",
        name="capitals",
        evaluate=rows,
        progress=said.append,
        **options,  # type: ignore[arg-type]
    )
    return made, said


@pytest.fixture(autouse=True)
def removed() -> Iterator[None]:
    yield
    for each in tk.deployments():
        if each.name == "capitals":
            each.delete()


@pytest.mark.usefixtures("stack")
def test_a_release_below_the_bar_or_below_the_running_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationFailed, match=r"exact_match is 0\.500, and 0\.700 is required") as caught:
        deploy(tmp_path, 2, require={"exact_match": 0.7})
    assert "Peru → The agent raised KeyError. (expected Lima)" in caught.value.cause
    assert "France" not in caught.value.cause
    names = [each.name for each in tk.deployments()]
    assert "capitals" not in names, "a first release that fails leaves nothing"

    first, _ = deploy(tmp_path, 3, require={"exact_match": 0.7})
    assert first.invoke("Japan") == {"answer": "Tokyo"}
    lineage = first.release.lineage
    assert float(lineage["evaluation.exact_match"]) == 0.75

    with pytest.raises(EvaluationFailed, match=r"is 0\.500, and the running release has 0\.750"):
        deploy(tmp_path, 2)
    assert first.invoke("Japan") == {"answer": "Tokyo"}
    assert [release.version for release in first.history()] == [1], "what fails is not registered"

    second, said = deploy(tmp_path, 4, metrics=["exact_match", longer])
    assert second.release.version == 2
    assert any("release 1, which runs, was not evaluated on these rows" in line for line in said)

    client = tk.mlflow().MlflowClient()
    experiment = client.get_experiment_by_name("capitals-evaluation")
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    assert [run.data.metrics["exact_match"] for run in runs] == [0.5, 0.75, 0.5, 1.0]
    assert runs[-1].info.run_id == second.release.lineage["evaluation.run"]
    answers = Path(client.download_artifacts(runs[-1].info.run_id, "answers.jsonl", str(tmp_path)))
    assert json.loads(answers.read_text().splitlines()[0])["output"] == {"answer": "Paris"}


def longer(output: dict[str, str], expected: str) -> float:
    return len(output["answer"]) >= len(expected)


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ([], {}, "no rows"),
        ([{"input": "France"}], {}, "Row 1 of .* has no `expected`"),
        (ROWS, {"metrics": ["bleu"]}, "There is no metric 'bleu'"),
        (ROWS, {"metrics": ["contains"], "require": {"exact_match": 1.0}}, "not in metrics="),
        (None, {"require": {"exact_match": 1.0}}, "there are none"),
    ],
)
def test_what_can_not_be_evaluated_is_refused_before_anything_is_done(
    empty_home: Path, tmp_path: Path, rows: object, options: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        deploy(tmp_path, 4, rows, **options)
    assert not empty_home.exists() or not list((empty_home / "deployments").glob("*"))
