"""JupyterLab beside the services, with `%thinkube` in every notebook: `thinkube up --lab`."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from thinkube.model.private import write_private
from thinkube.services.state import LocalService, directory
from thinkube.stack.command import Command, data, port


def choose_folder(folder: Path) -> None:
    """Say which folder JupyterLab shows from its next start on."""
    place = _folder_file()
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(place, str(folder.absolute()))


def address(service: LocalService) -> str:
    """Where a browser opens it, with the token."""
    return f"{service.url}/lab?token={service.secret}"


def command(python: Path, service: LocalService, _: Mapping[str, LocalService]) -> Command:
    """What to execute."""
    kernels = data(service) / "share"
    _write_kernel(kernels / "kernels" / "python3", python)
    root = _folder_file().read_text(encoding="utf-8") if _folder_file().exists() else str(Path.home())
    arguments = [
        *(str(python), "-m", "jupyterlab", "--no-browser"),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port(service)}", "--ServerApp.port_retries=0"),
        f"--ServerApp.root_dir={root}",
    ]
    if os.getuid() == 0:
        arguments.append("--allow-root")
    paths = [str(kernels), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    return Command(
        tuple(arguments),
        {"JUPYTER_TOKEN": service.secret, "JUPYTER_PATH": os.pathsep.join(paths)},
        for_user=True,
    )


def answers(service: LocalService) -> bool:
    """Whether it answers and takes its token."""
    request = urllib.request.Request(
        f"{service.url}/api/status", headers={"Authorization": f"token {service.secret}"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:  # also what urllib raises for a refusal
        return False


def _write_kernel(folder: Path, python: Path) -> None:
    """The kernel every notebook gets: this Python, with the extension loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    load = "--IPKernelApp.extra_extensions=thinkube"
    specification = {
        "argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}", load],
        "display_name": "Python 3 (Thinkube)",
        "language": "python",
        "metadata": {"debugger": True},
    }
    (folder / "kernel.json").write_text(json.dumps(specification, indent=1), encoding="utf-8")


def _folder_file() -> Path:
    return directory() / "lab"
