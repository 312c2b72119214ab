"""What ships of the quickstart's agent: these statements and no others."""

from __future__ import annotations

import ast
from pathlib import Path

from thinkube.capture.notebook_file import capture_notebook

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"


def test_exactly_what_the_agent_needs_ships() -> None:
    capture = capture_notebook(NOTEBOOK, "agent")
    tree = ast.parse(capture.source)
    bound = [
        node.name
        if isinstance(node, (ast.ClassDef, ast.FunctionDef))
        else ast.unparse(node).partition("(")[0]
        for node in tree.body[1:]
        if not isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    assert bound == [
        "llm = tk.llm",
        "embeddings = tk.embeddings",
        "vectors = tk.qdrant",
        "COLLECTION = 'python-docs'",
        "Question",
        "Answer",
        "State",
        "retrieve",
        next(text for text in bound if text.startswith("PROMPT = ")),
        "phrase",
        "builder = StateGraph",
        "builder.add_node",
        "builder.add_node",
        "builder.add_edge",
        "builder.add_edge",
        "builder.add_edge",
        "agent = builder.compile",
    ]
    assert capture.services == ("llm", "qdrant")
    assert capture.imports == ("langgraph", "thinkube")


def test_what_acts_on_the_services_is_left_out_and_said() -> None:
    report = capture_notebook(NOTEBOOK, "agent").report
    noted = " ".join(decision.reason for decision in report if decision.verdict == "noted")
    for effect in ("delete_collection", "create_collection", "upsert", "log_metric"):
        assert f"{effect}`" in noted
    assert all(decision.reason.startswith("left out") for decision in report if decision.verdict == "noted")
