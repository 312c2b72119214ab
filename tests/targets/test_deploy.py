"""From a notebook, a module or a live object to a deployment, and what can go wrong."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from tests.targets.conftest import processes, until

import thinkube as tk
from thinkube.errors import (
    DeploymentNotFound,
    ObjectUnsupported,
    RequestFailed,
    RolloutFailed,
    SecretNotFound,
    UsageError,
)  # fmt: skip
from thinkube.services.secrets import store
from thinkube.targets.deployment import Deployment
from thinkube.targets.rollout import stop_all

SOURCE = """
GREETING = "Hello"

def agent(question: str) -> dict[str, str]:
    return {"answer": f"{GREETING}, {question}!"}

print(agent("a look while building"))
"""


@pytest.fixture(autouse=True)
def home(empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield empty_home
    stop_all()
    until(lambda: processes(str(tmp_path)) == [], 5)


def module(source: str) -> Path:
    path = Path("mine.py")
    path.write_text(source)
    return path


def deploy(source: str, **options: Any) -> Deployment:
    said: list[str] = []
    return tk.deploy(module(source), object="agent", progress=said.append, **options)


def test_deploy_ask_change_roll_back_delete(home: Path) -> None:
    deployment = deploy(SOURCE)
    assert deployment.name == "agent"
    assert deployment.ask("Ada") == "Hello, Ada!"
    assert deployment.invoke("Ada") == {"answer": "Hello, Ada!"}
    assert [event for event, _ in deployment.stream("Ada")] == ["output"]
    url = deployment.url

    deploy(SOURCE.replace("Hello", "Servus"))
    assert deployment.ask("Ada") == "Servus, Ada!"
    assert (deployment.url, deployment.release.version) == (url, 2)
    assert [release.version for release in deployment.history()] == [1, 2]

    changed = deployment.diff()
    assert changed.labels == ("release 1", "release 2")
    assert '-GREETING = "Hello"' in "".join(changed.code.values())
    assert not deployment.diff(1, 1)
    with pytest.raises(UsageError, match="no release before 1"):
        deployment.diff(after=1)

    deployment.rollback()
    assert deployment.ask("Ada") == "Hello, Ada!"
    deployment.rollback(2)
    assert deployment.ask("Ada") == "Servus, Ada!"
    with pytest.raises(UsageError, match="It has 1, 2"):
        deployment.rollback(7)

    assert [each.name for each in tk.deployments()] == ["agent"]
    facts = deployment.to_dict()
    assert (facts["status"], facts["version"], facts["lineage"]) == ("running", 2, {"notebook": "mine.py"})
    assert repr(deployment) == f"<Deployment agent: release 2 running at {url}>"
    assert f'href="{url}/docs"' in deployment._repr_html_()
    assert "2</td>" in deployment.history()._repr_html_()
    assert any("request method=POST" in line for line in deployment.logs())

    deployment.delete()
    assert not (home / "deployments" / "agent").exists()
    with pytest.raises(DeploymentNotFound):
        tk.deployment("agent")
    assert "There is no deployment 'agent'" in repr(deployment)


def test_a_notebook_file() -> None:
    notebook = nbformat.v4.new_notebook()
    cells = ["GREETING = 'Hi'", "1 + 1", "def agent(question: str) -> str:\n    return GREETING + question"]
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(notebook, "work.ipynb")
    said: list[str] = []
    deployment = tk.deploy("work.ipynb", object="agent", name="from-notebook", progress=said.append)
    assert deployment.invoke("!") == "Hi!"
    assert said[-1] == f"release 1 of from-notebook takes requests at {deployment.url}"


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    shell = InteractiveShell.instance()
    shell.reset(new_session=False)
    yield shell
    shell.reset(new_session=False)


def run(shell: InteractiveShell, cell: str) -> Any:
    result = shell.run_cell(cell, store_history=True)
    result.raise_error()
    return result.result


def test_a_live_object_of_a_notebook(shell: InteractiveShell) -> None:
    run(shell, "import thinkube as tk\nFACTOR = 3")
    run(shell, "def docs_agent(number: int) -> int:\n    return number * FACTOR")
    deployment = run(shell, "tk.deploy(docs_agent)")
    assert deployment.name == "docs-agent"
    assert deployment.invoke(4) == 12
    run(shell, "FACTOR = 5")
    run(shell, "tk.deploy(docs_agent)")
    assert deployment.invoke(4) == 20


def test_a_frozen_value_is_stored_instead_of_computed_again(shell: InteractiveShell) -> None:
    run(shell, "import os\nimport thinkube as tk")
    run(shell, "index = {'made by': os.getpid()}")
    run(shell, "def agent(question: str) -> int:\n    return index['made by']")
    assert run(shell, "tk.deploy(agent)").invoke("?") != os.getpid()
    assert run(shell, "tk.deploy(agent, freeze=['index'])").invoke("?") == os.getpid()


def test_a_deploy_that_is_in_the_notebook_is_no_part_of_the_next(shell: InteractiveShell) -> None:
    run(shell, "import os\nimport thinkube as tk")
    run(shell, "def first(question: str) -> str:\n    os.environ['LAST'] = question\n    return question")
    run(shell, "deployment = tk.deploy(first)")
    run(shell, "def second(question: str) -> str:\n    return 'second ' + question")
    deployment = run(shell, "tk.deploy(second)")
    assert deployment.invoke("?") == "second ?"
    assert "first" not in Path(run(shell, "tk.package(second)").path, "second_source.py").read_text()


def test_a_release_that_raises_at_import_names_the_cell(shell: InteractiveShell) -> None:
    run(shell, "import os\nimport thinkube as tk")
    run(shell, "def agent(question: str) -> str:\n    return 'first'")
    deployment = run(shell, "tk.deploy(agent)")
    run(shell, "\nSECRET_PLACE = os.environ['ONLY_HERE'] if 'JPY' in os.environ else len(None or '')")
    run(shell, "table = {'a': 1}[os.environ.get('COLUMN', 'a')]")
    run(shell, "def agent(question: str) -> str:\n    return f'{table} {SECRET_PLACE}'")
    with pytest.raises(RolloutFailed, match="KeyError: 'b'") as caught:
        run(shell, "tk.deploy(agent, env={'COLUMN': 'b'})")
    assert "line 1: table = {'a': 1}[os.environ.get('COLUMN', 'a')]" in caught.value.cause
    assert "Release 1 still serves." in caught.value.cause
    assert deployment.invoke("?") == "first"
    assert (deployment.invoke("?"), deployment.release.version) == ("first", 1)


def test_a_name_taken_over_from_another_file_is_said() -> None:
    deploy(SOURCE)
    Path("other.py").write_text(SOURCE.replace("Hello", "Hi"))
    said: list[str] = []
    tk.deploy(Path("other.py"), object="agent", progress=said.append)
    assert any("agent was deployed from mine.py, which this replaces" in line for line in said)


def test_what_can_not_be_deployed() -> None:
    with pytest.raises(ObjectUnsupported, match="int, which can't be deployed"):
        tk.deploy(42)
    with pytest.raises(UsageError, match="none was chosen"):
        tk.deploy(module(SOURCE))
    Path("agent.txt").touch()
    with pytest.raises(UsageError, match="neither a notebook"):
        tk.deploy("agent.txt", object="agent")
    with pytest.raises(DeploymentNotFound, match="There are: none"):
        tk.deployment("agent")


def test_an_agent_that_raises_shows_its_traceback_to_who_deployed_it() -> None:
    deployment = deploy("def agent(question: str) -> str:\n    return {}[question]\n")
    with pytest.raises(RequestFailed, match="KeyError") as caught:
        deployment.ask("how")
    assert "return {}[question]" in caught.value.cause
    with pytest.raises(RequestFailed, match="does not take that input"):
        deployment.invoke(["no", "text"])


def test_secrets_reach_the_process_and_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "import os\ndef agent(question: str) -> str:\n    return os.environ['TOKEN'] + os.environ['MODE']\n"
    )
    monkeypatch.setenv("TOKEN", "value-of-the-token")
    deployment = deploy(source, env={"MODE": "1"})
    assert deployment.ask("?") == "value-of-the-token1"
    monkeypatch.delenv("TOKEN")
    deploy(source, env={"MODE": "2"}, secrets={"TOKEN": "value-of-the-token"})
    assert deployment.ask("?") == "value-of-the-token2"
    deployment.rollback()
    assert deployment.ask("?") == "value-of-the-token1", "the running release's secrets stay"
    files = [path for path in home.rglob("*") if path.is_file()]
    assert not [path for path in files if b"value-of-the-token" in path.read_bytes()]
    with pytest.raises(SecretNotFound, match="no secret NOT_SET"):
        deploy(source, secrets=["NOT_SET"])


def test_a_stored_secret_reaches_the_deployment_whose_code_asks_for_it(home: Path) -> None:
    store("STORED_TOKEN", "value-of-the-token")
    store("OTHER_TOKEN", "never asked for")
    deployment = deploy(
        "import os\nimport thinkube as tk\nTOKEN = tk.secret('STORED_TOKEN')\n"
        "OTHERS = [name for name in os.environ if name.startswith('OTHER')]\n"
        "def agent(question: str) -> str:\n    return f'{TOKEN} {OTHERS}'\n"
    )
    assert deployment.ask("?") == "value-of-the-token []"
    holding = [
        path for path in home.rglob("*") if path.is_file() and b"value-of-the-token" in path.read_bytes()
    ]
    assert holding == [home / "secrets.json"]


def test_two_deploys_of_one_name_at_once_are_ordered() -> None:
    deploy(SOURCE)
    failures: list[BaseException] = []

    def change(word: str) -> None:
        path = Path(f"{word}.py")
        path.write_text(SOURCE.replace("Hello", word))
        try:
            tk.deploy(path, object="agent", progress=lambda _: None)
        except BaseException as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    threads = [threading.Thread(target=change, args=(word,)) for word in ("One", "Two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    deployment = tk.deployment("agent")
    releases = deployment.history()
    assert [release.version for release in releases] == [1, 2, 3]
    assert deployment.release == releases[-1]
    last = Path(releases[-1].lineage["notebook"]).stem
    assert deployment.ask("Ada") == f"{last}, Ada!"


def test_package_writes_a_project(tmp_path: Path) -> None:
    bundle = tk.package(module(SOURCE), object="agent", out=tmp_path / "project", progress=lambda _: None)
    assert bundle.verified
    assert (tmp_path / "project" / "thinkube.yaml").is_file()
    assert bundle.manifest.name == "agent"
    assert "THINKUBE_HOME" in os.environ
