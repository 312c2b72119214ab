"""`thinkube up --lab`: JupyterLab on this machine, with the magic in every notebook."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from thinkube.services import state
from thinkube.services.state import LocalService
from thinkube.stack.down import down
from thinkube.stack.lab import address
from thinkube.stack.up import up


def ask(url: str, token: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"token {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.timeout(120)
def test_lab_shows_the_folder_has_the_magic_and_ends_with_the_stack(
    own_home: Path,
    tmp_path: Path,
    local: Callable[[str], LocalService],
    listens: Callable[[str], bool],
    members: Callable[[Path], list[int]],
    eventually: Callable[..., None],
):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "mine.ipynb").write_text("{}")
    up(["nats"])
    assert local("lab").stage == "stopped"
    lab = up(["nats"], lab=folder).services["lab"]
    assert lab.url.startswith("http://127.0.0.1:")
    assert [each["name"] for each in ask(f"{lab.url}/api/contents", lab.secret)["content"]] == ["mine.ipynb"]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask(f"{lab.url}/api/contents", "wrong")
    assert lab.secret in address(lab)
    assert lab.secret not in Path(lab.log).read_text()

    specification = ask(f"{lab.url}/api/kernelspecs", lab.secret)["kernelspecs"]["python3"]["spec"]
    assert specification["display_name"] == "Python 3 (Thinkube)"
    specifications = KernelSpecManager(
        kernel_dirs=[str(state.directory() / "data" / "lab" / "share" / "kernels")]
    )
    manager = KernelManager(kernel_name="python3", kernel_spec_manager=specifications)
    manager.start_kernel()
    try:
        client = manager.blocking_client()
        client.start_channels()
        client.wait_for_ready(timeout=30)
        said: list[str] = []
        reply = client.execute_interactive(
            "%thinkube --version",
            timeout=30,
            output_hook=lambda message: said.append(message["content"].get("text", "")),
        )
        assert reply["content"]["status"] == "ok"
        assert "thinkube 0." in "".join(said)
        client.stop_channels()
    finally:
        manager.shutdown_kernel(now=True)

    down()
    assert not listens(lab.url)
    eventually(lambda: not members(own_home), 5)
    up(["nats"])
    assert local("lab").stage == "stopped"
