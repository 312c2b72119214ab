"""Each notebook of the corpus behaves as captured exactly as it does live, or is refused "
"for a stated reason."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from corpus import Case, load

HERE = Path(__file__).parent
CASES = load()


def execute(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run jobs in a fresh process."""
    done = subprocess.run(
        [sys.executable, str(HERE / "execute.py")],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@cache
def results() -> dict[tuple[str, str], dict[str, Any]]:
    """For each case and route: the verdict and what is needed to understand it."""
    lives = execute([
        {
            "kind": "live", "notebook": c.notebook(), "target": c.target, "ask": list(c.ask),
            "files": c.files, "order": list(c.order),
        }
        for c in CASES
    ])  # fmt: skip
    found: dict[tuple[str, str], dict[str, Any]] = {}
    jobs: list[tuple[Case, str, dict[str, Any], dict[str, Any]]] = []
    for case, live in zip(CASES, lives, strict=True):
        for route in ("file", "kernel"):
            if (case.only or route) != route or (case.order and route == "file"):
                continue
            capture = live.get(route, {"crashed": live.get("failure", "no result")})
            found[case.name, route] = _refusal(case, capture) or {"verdict": "pending"}
            if "source" in capture:
                jobs.append((case, route, capture, live))
    captured = execute([
        {
            "kind": "captured", "module": capture["module"], "source": capture["source"],
            "files": capture["files"],
            "secrets": capture["secrets"], "target": case.target, "ask": list(case.ask),
        }
        for case, _, capture, _ in jobs
    ])  # fmt: skip
    for (case, route, capture, live), outcome in zip(jobs, captured, strict=True):
        found[case.name, route] = _compare(case, capture, live, outcome)
    return found


def _refusal(case: Case, capture: dict[str, Any]) -> dict[str, Any] | None:
    if "crashed" in capture:
        return {"verdict": "wrong", "why": capture["crashed"]}
    if "refused" not in capture:
        return None
    if case.refused is None:
        return {"verdict": "wrongly refused", "why": capture["refused"]}
    if case.refused not in capture["refused"]:
        return {"verdict": "wrong", "why": f"the refusal does not say {case.refused!r}: {capture['refused']}"}
    return {"verdict": "rightly refused", "why": capture["refused"]}


def _compare(
    case: Case, capture: dict[str, Any], live: dict[str, Any], outcome: dict[str, Any]
) -> dict[str, Any]:
    source = capture["source"]
    if case.refused is not None:
        return {"verdict": "wrong", "why": f"captured, though it should be refused\n{source}"}
    if "failure" in outcome or "answers" not in live:
        return {"verdict": "wrong", "why": f"{outcome.get('failure')}\n{source}\n{live.get('failure')}"}
    expected = list(live["answers"])
    if case.expect is not None:
        expected[0] = case.expect
    if outcome["answers"] != expected:
        return {
            "verdict": "wrong",
            "why": f"live {expected}\nhere {outcome['answers']}\n{source}\n{live['output']}",
        }
    for text in case.absent:
        if text in source:
            return {"verdict": "wrong", "why": f"{text!r} ships\n{source}"}
    for text in case.present:
        if text not in source:
            return {"verdict": "wrong", "why": f"{text!r} does not ship\n{source}"}
    if case.secrets is not None and set(case.secrets) != set(capture["secrets"]):
        return {"verdict": "wrong", "why": f"secrets {capture['secrets']}\n{source}"}
    return {"verdict": "behaves", "why": source}


ROUTES = [
    (case.name, route)
    for case in CASES
    for route in ("file", "kernel")
    if (case.only or route) == route and not (case.order and route == "file")
]


@pytest.mark.parametrize(("name", "route"), ROUTES, ids=[f"{name} ({route})" for name, route in ROUTES])
def test_a_notebook_behaves_as_it_did(name: str, route: str) -> None:
    result = results()[name, route]
    assert result["verdict"] in {"behaves", "rightly refused"}, f"{result['verdict']}: {result['why']}"


def test_what_ships_passes_ruff(tmp_path: Path) -> None:
    for number, ((name, route), result) in enumerate(results().items()):
        if result["verdict"] == "behaves":
            text = f"# {name} ({route})\n{result['why']}"
            (tmp_path / f"case_{number}.py").write_text(text)
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "F821,F401,F822,F823",
        "--output-format",
        "concise",
    ]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_four_counts(record_property: pytest.RecordProperty, capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counter(result["verdict"] for result in results().values())
    total = sum(counts.values())
    with capsys.disabled():
        kinds = ("behaves", "rightly refused", "wrongly refused", "wrong")
        print(
            f"\ncorpus of {len(CASES)} notebooks, {total} captures: "
            + ", ".join(f"{k} {counts[k]}" for k in kinds)
        )
    for kind, count in counts.items():
        record_property(kind, count)
    assert counts["wrong"] == 0
    assert (counts["behaves"] + counts["rightly refused"]) / total >= 0.95
    assert len(CASES) >= 100
