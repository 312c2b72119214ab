"""A child process: ready, logged, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from thinkube.targets.child import Child, ChildFailed


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
    ).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_a_child_is_ready_when_its_condition_says_so(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    child = Child(
        [sys.executable, "-c", f"open({str(flag)!r}, 'w'); import time; time.sleep(60)"],
        log=tmp_path / "log",
        ready=flag.exists,
    )
    child.wait_ready(10)
    assert flag.exists()
    assert child.stop() == -signal.SIGTERM
    assert not child.alive


def test_a_child_that_exits_shows_its_own_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("from an earlier run\n")
    child = Child(
        [sys.executable, "-c", "print('no disk'); raise SystemExit(3)"], log=log, ready=lambda: False
    )
    with pytest.raises(ChildFailed, match="status 3") as caught:
        child.wait_ready(10)
    assert caught.value.tail == ("no disk",)


def test_a_child_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    child = Child(
        [sys.executable, "-c", "import time; time.sleep(60)"], log=tmp_path / "log", ready=lambda: False
    )
    with pytest.raises(ChildFailed, match=r"not ready after 0\.3 s"):
        child.wait_ready(0.3)
    assert not child.alive


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(ChildFailed, match="No such file"):
        Child(["/nowhere/program"])


def test_stop_ends_a_child_that_ignores_the_request_and_its_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = """
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(inner.pid, flush=True)
        time.sleep(60)
    """
    child = Child([sys.executable, "-c", textwrap.dedent(code)], log=log)
    until(lambda: len(log.read_text().split()) == 1)
    assert child.stop(deadline=0.2) == -signal.SIGKILL
    until(lambda: not runs(int(log.read_text())))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_end_with_their_parent_even_when_started_in_a_thread(tmp_path: Path, number: int) -> None:
    code = """
        import sys, threading, time
        from pathlib import Path
        from thinkube.targets.child import Child
        def start():
            child = Child([sys.executable, "-c", "import time; time.sleep(60)"])
            Path(sys.argv[1]).write_text(str(child.pid) + "\\n")
        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        time.sleep(60)
    """
    told = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(told)])
    until(lambda: told.exists() and told.read_text().endswith("\n"))
    pid = int(told.read_text())
    assert runs(pid)
    os.kill(parent.pid, number)
    parent.wait()
    until(lambda: not runs(pid))
