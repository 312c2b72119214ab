"""Deployments as supervised processes: rollout, crash, redeploy, resume, delete."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest
from tests.targets.conftest import Trials, processes, runs, until

from thinkube.model.errors import DeploymentError, DeploymentNotFound
from thinkube.targets.failure import NotReady
from thinkube.targets.process import control, record
from thinkube.targets.process.target import ProcessTarget, supervise
from thinkube.targets.rollout import resume, stop_all
from thinkube.targets.target import Rollout


def version_agent(number: int, extra: str = "") -> str:
    return f"import os, time\n{extra}\ndef agent(question: str) -> str:\n    return 'version {number}'\n"


def authorized(name: str = "trial") -> dict[str, str]:
    return {"authorization": f"Bearer {ProcessTarget().keys(name).own()}"}


def ask(url: str, name: str = "trial") -> str:
    reply = httpx.post(f"{url}/invoke", json={"input": "?"}, headers=authorized(name), timeout=20)
    return str(reply.json()["output"])


def test_a_release_serves_on_a_port_that_stays(trials: Trials) -> None:
    first = trials.roll_out(version_agent(1))
    assert (first.state, first.release.version) == ("running", 1)
    assert ask(first.url) == "version 1"
    second = trials.roll_out(version_agent(2))
    assert second.url == first.url
    assert ask(first.url) == "version 2"
    assert trials.target.names() == ["trial"]
    until(lambda: len(list(record.places("trial").copies.iterdir())) == 1)


@pytest.mark.parametrize(
    ("source", "how", "said"),
    [("raise LookupError('no such table')", "raised", "no such table"),
     ("import os\nprint('goodbye', flush=True)\nos._exit(7)", "exited", "status 7"),
     ("import time\ntime.sleep(600)", "timeout", "not ready after 1.5 s"),
     ("agent = 42", "raised", "int is neither")],
)  # fmt: skip
def test_a_release_that_fails_leaves_the_old_one_serving(
    trials: Trials, source: str, how: str, said: str
) -> None:
    before = trials.roll_out(version_agent(1))
    with pytest.raises(NotReady, match=said) as caught:
        trials.roll_out(source, timeout=1.5 if how == "timeout" else 20)
    assert caught.value.failure.how == how
    if how == "exited":
        assert caught.value.failure.tail == ("goodbye",)
    now = trials.target.status("trial")
    assert (now.release.version, now.pid, now.state) == (1, before.pid, "running")
    assert ask(now.url) == "version 1"
    assert len(processes(str(trials.home / "deployments" / "trial" / "releases"))) == 1


def test_a_first_release_that_fails_leaves_nothing(trials: Trials) -> None:
    with pytest.raises(NotReady, match="nope"):
        trials.roll_out("raise RuntimeError('nope')")
    until(lambda: not (trials.home / "deployments" / "trial").exists() and processes(str(trials.home)) == [])
    with pytest.raises(DeploymentNotFound, match="There is no deployment 'trial'"):
        trials.target.status("trial")


class Load:
    """Clients that keep their connections, ask all the time, and never try again."""

    def __init__(self, url: str, clients: int = 8) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, headers=authorized(), timeout=20) as client:
            while not self._stop.is_set():
                try:
                    reply = client.post("/invoke", json={"input": "?"})
                    self.answers[reply.json().get("output", reply.text)] += 1
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                # Half of the clients leave their connection idle now and then.
                self._stop.wait(0.05 * (number % 2))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_redeploys_under_load_drop_no_request(trials: Trials) -> None:
    url = trials.roll_out(version_agent(0)).url
    load = Load(url)
    try:
        for number in (1, 2, 3):
            trials.roll_out(version_agent(number))
            until(lambda number=number: load.answers[f"version {number}"] > 100)
    finally:
        load.stop()
    assert load.failures == []
    assert set(load.answers) == {f"version {number}" for number in range(4)}


def test_a_killed_worker_loses_only_what_was_in_progress(trials: Trials) -> None:
    status = trials.roll_out(version_agent(1))
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    assert ask(status.url) == "version 1"  # waits in the socket's queue for the next worker
    now = trials.target.status("trial")
    assert (now.state, now.restarts) == ("running", 1)
    assert now.pid != status.pid


def test_requests_in_progress_are_finished_by_the_old_release(trials: Trials) -> None:
    slow = "import time\ndef agent(question: str) -> str:\n    time.sleep(2)\n    return 'slow'\n"
    url = trials.roll_out(slow).url
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(ask(url)))
    thread.start()
    until(lambda: httpx.get(f"{url}/healthz").status_code == 200)
    trials.roll_out(version_agent(2))
    assert ask(url) == "version 2"
    thread.join()
    assert answers == ["slow"]


def test_a_crash_loop_is_visible_and_a_new_release_ends_it(trials: Trials, tmp_path: Path) -> None:
    flag = tmp_path / "broken"
    source = (
        f"from pathlib import Path\nif Path({str(flag)!r}).exists():\n    raise OSError('disk is gone')\n"
    )
    status = trials.roll_out(source + version_agent(1))
    flag.touch()
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    until(lambda: trials.target.status("trial").state == "crash loop", 30)
    assert "disk is gone" in trials.target.status("trial").detail
    told = httpx.post(f"{status.url}/invoke", content=b"x" * 1_000_000, headers=authorized(), timeout=20)
    assert (told.status_code, told.json()["error"]["type"]) == (503, "unavailable")
    assert "retry-after" in told.headers
    assert trials.roll_out(version_agent(2)).state == "running"
    assert ask(status.url) == "version 2"


def test_workers_do_not_outlive_a_killed_supervisor(trials: Trials) -> None:
    status = trials.roll_out(version_agent(1))
    places = record.places("trial")
    assert status.pid is not None
    os.kill(int(places.lock.read_text()), signal.SIGKILL)
    until(lambda: not runs(status.pid or 0))
    assert trials.target.status("trial").state == "stopped"
    assert resume() == ["trial"]
    assert ask(status.url) == "version 1"


def test_stop_and_resume_keep_port_release_and_secret(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import os\ndef agent(question: str) -> str:\n    return os.environ['TOKEN']\n"
    status = trials.roll_out(source, variables={"TOKEN": "from memory"})
    assert ask(status.url) == "from memory"
    on_disk = [path for path in (trials.home / "deployments").rglob("*") if path.is_file()]
    assert not [path for path in on_disk if b"from memory" in path.read_bytes()]
    assert stop_all() == ["trial"]
    assert trials.target.status("trial").state == "stopped"
    assert not runs(status.pid or 0)
    monkeypatch.setenv("TOKEN", "set again")
    assert resume() == ["trial"]
    assert ask(status.url) == "set again"
    assert resume() == []


def test_delete_leaves_nothing(trials: Trials) -> None:
    status = trials.roll_out(version_agent(1, "import subprocess; subprocess.Popen(['sleep', '600'])"))
    trials.target.delete("trial")
    assert not (trials.home / "deployments" / "trial").exists()
    until(lambda: processes(str(trials.home)) == [], 5)  # the guard ends when it hears that the last has
    with pytest.raises(httpx.ConnectError):
        httpx.get(status.url)
    with pytest.raises(DeploymentNotFound):
        trials.target.delete("trial")


def test_a_folder_that_was_removed_takes_its_processes_with_it(trials: Trials) -> None:
    trials.roll_out(version_agent(1))
    shutil.rmtree(trials.home / "deployments")
    until(lambda: processes(str(trials.home)) == [])


def test_logs_can_be_followed(trials: Trials) -> None:
    url = trials.roll_out(
        "def agent(question: str) -> str:\n    print('asked', question)\n    return 'ok'\n"
    ).url
    lines: list[str] = []

    def follow() -> None:
        lines.extend(trials.target.logs("trial", follow=True))

    thread = threading.Thread(target=follow)
    thread.start()
    ask(url)
    until(lambda: "asked ?" in lines)
    ask(url)
    until(lambda: lines.count("asked ?") == 2)
    trials.target.delete("trial")
    thread.join(5)
    assert not thread.is_alive()


def test_a_home_with_a_long_path(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    trials.home = trials.home / ("long-" * 30)
    monkeypatch.setenv("THINKUBE_HOME", str(trials.home))
    status = trials.roll_out(version_agent(1))
    assert ask(status.url) == "version 1"
    socket = record.places("trial").control
    assert len(str(socket)) < 100
    trials.target.delete("trial")
    assert not socket.exists()


def test_an_interrupted_rollout_stops_what_it_started(trials: Trials) -> None:
    status = trials.roll_out(version_agent(1))
    places = record.places("trial")
    saved = record.read(places)
    assert saved is not None
    copy = places.copies / "2-interrupted"
    shutil.copytree(saved.copy, copy)
    (copy / "trial_agent.py").write_text("import time\ntime.sleep(600)\n")
    question = {**saved.to_dict(), "do": "roll out", "copy": str(copy), "variables": {}, "inherit": True}
    with pytest.raises(DeploymentError, match="timed out"):
        control.ask(places.control, question, 0.5)
    until(lambda: processes(str(copy)) == [] and not copy.exists())
    assert ask(status.url) == "version 1"


def test_a_first_rollout_that_nobody_waits_for_any_more_leaves_nothing(trials: Trials) -> None:
    places = record.places("trial")
    places.folder.mkdir(mode=0o700, parents=True)
    supervise(places)
    assert trials.target.supervised() == ["trial"]
    copy = places.copies / "1-alone"
    copy.mkdir(parents=True)
    (copy / "thinkube.yaml").write_text("entrypoint: nothing:here\n")
    question = {
        "do": "roll out", "copy": str(copy), "python": sys.executable, "settings": {}, "variables": {},
        "inherit": True, "timeout": 60.0,
    }  # fmt: skip
    assert not control.ask(places.control, question)["ok"]
    until(lambda: not places.folder.exists() and processes(str(trials.home)) == [])
    assert trials.target.supervised() == []


def test_a_candidate_that_is_not_chosen_is_ended(trials: Trials) -> None:
    status = trials.roll_out(version_agent(1))
    bundle = trials.home / "bundles" / "trial-1"
    rollout = Rollout("trial", bundle, Path(sys.executable), {}, {"PATH": "/usr/bin:/bin"})
    with trials.target.candidate(rollout) as candidate:
        assert candidate.kind == "function"
        assert len(processes(str(record.places("trial").copies))) == 2
    until(lambda: len(processes(str(record.places("trial").copies))) == 1)
    until(lambda: len(list(record.places("trial").copies.iterdir())) == 1)
    assert (trials.target.status("trial").pid, ask(status.url)) == (status.pid, "version 1")


def test_replicas_share_the_socket_and_are_each_looked_after(trials: Trials) -> None:
    source = "import os\ndef agent(question: str) -> str:\n    return str(os.getpid())\n"
    url = trials.roll_out(source, replicas=3).url
    control_socket = record.places("trial").control

    def pids() -> set[int]:
        return set(control.ask(control_socket, {"do": "status"})["pids"])

    until(lambda: len(pids()) == 3)
    first = pids()
    seen: set[str] = set()
    until(lambda: seen.add(ask(url)) or len(seen) == 3, 60)  # type: ignore[func-returns-value]
    assert seen == {str(pid) for pid in first}

    os.kill(killed := min(first), signal.SIGKILL)
    until(lambda: len(pids() - {killed}) == 3)
    assert trials.target.status("trial").restarts == 1

    load = Load(url)
    until(lambda: sum(load.answers.values()) > 20)
    trials.roll_out(version_agent(2), replicas=2)
    until(lambda: load.answers["version 2"] > 20)
    load.stop()
    assert load.failures == []
    until(lambda: len(pids()) == 2 and not pids() & first)
    trials.target.delete("trial")
    until(lambda: processes(str(trials.home)) == [], 5)


def test_a_replica_in_a_crash_loop_takes_no_requests_from_the_others(trials: Trials) -> None:
    flag = trials.home / "broken"
    source = f"""
        import os, pathlib
        assert not pathlib.Path({str(flag)!r}).exists()
        def agent(question: str) -> str:
            return "version 1"
        """
    url = trials.roll_out(source, replicas=2).url
    control_socket = record.places("trial").control
    until(lambda: len(control.ask(control_socket, {"do": "status"})["pids"]) == 2)
    flag.touch()
    load = Load(url)
    os.kill(control.ask(control_socket, {"do": "status"})["pids"][0], signal.SIGKILL)
    until(lambda: "failure 4 in a row" in trials.target.status("trial").detail, 60)
    until(lambda: sum(load.answers.values()) > 200)
    load.stop()
    assert set(load.answers) == {"version 1"}
    assert len(load.failures) <= 4, "those in flight in the killed process"
    assert trials.target.status("trial").state == "running"
