"""A distribution from a private index: found through uv's settings and through pip's."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from thinkube.bundles.environments import environment, this_platform
from thinkube.bundles.indexes import uv_environment
from thinkube.bundles.wheels import uv
from thinkube.errors import EnvironmentFailed
from thinkube.model.lock import Lock, Pin

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
LOCK = Lock(HERE, this_platform(), (Pin("ada-tools", "1.2"),))


class _Index(SimpleHTTPRequestHandler):
    """A package index, as folders of files, behind a password."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Basic YWRhOmwwdmVsYWNl":
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, *arguments: object) -> None:
        """Requests are no news."""


@pytest.fixture
def index(project: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of a private index that has `ada-tools`, with its credential."""
    folder = tmp_path / "index" / "ada-tools"
    subprocess.run(
        [uv(), "build", "--wheel", "-o", str(folder), str(project)], check=True, capture_output=True
    )
    handler = partial(_Index, directory=str(tmp_path / "index"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://ada:l0velace@127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def clean(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    return cache


def greeting(python: Path) -> str:
    code = "import ada_tools; print(ada_tools.greet())"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("variable", ["UV_INDEX", "PIP_EXTRA_INDEX_URL"])
def test_a_variable_names_it(index: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, index)
    assert greeting(environment(LOCK)) == "Good day"


@pytest.mark.parametrize("setting", ["extra-index-url", "extra_index_url"])
def test_pips_file_names_it(
    index: str, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text(f"[global]\n{setting} =\n    {index}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert greeting(environment(LOCK)) == "Good day"


def test_the_projects_settings_for_uv_name_it(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "pyproject.toml").write_text(f'[[tool.uv.index]]\nurl = "{index}"\n')
    monkeypatch.chdir(tmp_path / "work")
    assert greeting(environment(LOCK)) == "Good day"


def test_uvs_own_setting_wins_over_pips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_INDEX", "http://127.0.0.1:1/uv")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://127.0.0.1:1/pip")
    assert uv_environment()["UV_INDEX"] == "http://127.0.0.1:1/uv"


def test_without_it_the_refusal_says_what_to_set(index: str) -> None:
    del index
    with pytest.raises(EnvironmentFailed, match="ada-tools") as refusal:
        environment(LOCK)
    assert "UV_INDEX" in refusal.value.fix


def test_a_refused_credential_is_not_shown(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = urlsplit(index)
    monkeypatch.setenv("UV_INDEX", f"http://ada:wr0ng-s3cret@127.0.0.1:{place.port}/")
    with pytest.raises(EnvironmentFailed) as refusal:
        environment(LOCK)
    assert "wr0ng-s3cret" not in str(refusal.value)


def test_an_unreadable_pip_file_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.conf").write_bytes(b"\xff\xfe[[[")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert "PATH" in uv_environment()
