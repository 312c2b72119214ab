"""Run inside the image: an agent is built and packaged in a kernel, without any service."""

import subprocess
import tempfile
from pathlib import Path

SOURCE = """
from langgraph.graph import END, START, MessagesState, StateGraph


def answer(state: MessagesState) -> dict:
    return {"messages": [("ai", "hello")]}


builder = StateGraph(MessagesState)
builder.add_node(answer)
builder.add_edge(START, "answer")
builder.add_edge("answer", END)
agent = builder.compile()
"""
modules = "crewai, langchain_openai, langfuse, nats, qdrant_client, openai, boto3"
subprocess.run(["python", "-c", f"import {modules}"], check=True)
with tempfile.TemporaryDirectory() as folder:
    module = Path(folder) / "agents.py"
    module.write_text(SOURCE)
    out = Path(folder) / "project"
    command = ["thinkube", "package", str(module), "--object", "agent", "--out", str(out), "--no-verify"]
    subprocess.run(command, check=True, capture_output=True)
    assert (out / "requirements.txt").read_text().count("langgraph==")
print("jupyter-agent-dev: ok")
