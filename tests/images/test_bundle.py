"""The image of a packaged agent: built from its own Dockerfile, run, and asked."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from builder import Builder

pytestmark = pytest.mark.timeout(1800)  # the first test also makes the Debian root

AGENT = '''
def agent(question: str) -> str:
    """Answer loudly."""
    return question.upper()
'''


def test_a_packaged_agents_image_answers_as_an_unprivileged_user(
    builder: Builder, agent_runtime: str, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    module, project = tmp_path / "loud.py", tmp_path / "project"
    module.write_text(AGENT)
    package = ["package", str(module), "--object", "agent", "--out", str(project), "--no-verify"]
    subprocess.run([sys.executable, "-m", "thinkube", *package], check=True, capture_output=True)
    image = builder.build(project / "Dockerfile", project, "loud", RUNTIME=agent_runtime)

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = ["python", "-m", "thinkube.serving", "--bundle", "/app", "--host", "127.0.0.1", "--port", port]
    log = tmp_path / "log"
    container = builder.container(image)
    who = subprocess.run(builder.command(container, "id", "-u"), capture_output=True, text=True, check=True)
    assert who.stdout.strip() == "65532"
    with log.open("w") as output:
        running = subprocess.Popen(builder.command(container, *command), stdout=output, stderr=output)
        try:

            def ready() -> bool:
                assert running.poll() is None, log.read_text()
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                        return bool(answer.status == 200)
                except urllib.error.URLError:
                    return False

            eventually(ready, 90)
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/invoke",
                data=json.dumps({"input": "hello"}).encode(),
                headers={"content-type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert json.load(answer)["output"] == "HELLO"
        finally:
            running.terminate()
            running.wait(30)
