"""Where the cluster lives, and how its programs are called, started and stopped."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

CACHE = Path(os.environ.get("THINKUBE_CLUSTER_CACHE", "~/.cache/thinkube-cluster")).expanduser()
STATE = Path("/var/lib/thinkube-cluster")
CONFIG = Path(__file__).resolve().parent / "config"
BIN, PKI, LOG, RUN = CACHE / "bin", STATE / "pki", STATE / "log", STATE / "run"
KUBECONFIG, SOCKET = STATE / "admin.kubeconfig", RUN / "containerd.sock"
BRIDGE, NODE_IP, NODE_NET, POD_NET = "tkbr0", "10.244.0.1", "10.244.0.0/24", "10.244.0.0/16"
SERVICE_NET, API_IP, DNS_IP = "10.96.0.0/16", "10.96.0.1", "10.96.0.10"
API, ETCD, REGISTRY = "https://127.0.0.1:16443", "http://127.0.0.1:12379", "127.0.0.1:15000"
ARGO = "v3.7.4"
PLACEHOLDERS = {
    "CACHE": CACHE, "STATE": STATE, "PKI": PKI, "LOG": LOG, "RUN": RUN, "KUBECONFIG": KUBECONFIG,
    "SOCKET": SOCKET, "BRIDGE": BRIDGE, "NODE_IP": NODE_IP, "NODE_NET": NODE_NET, "POD_NET": POD_NET,
    "SERVICE_NET": SERVICE_NET, "DNS_IP": DNS_IP, "ETCD": ETCD, "REGISTRY": REGISTRY, "ARGO": ARGO,
}  # fmt: skip


def sh(
    *args: object,
    check: bool = True,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    given: str | None = None,
) -> str:
    """Run a program; what it writes. The script ends where it fails."""
    words = [str(arg) for arg in args]
    done = subprocess.run(words, text=True, capture_output=True, cwd=cwd, env=env, input=given)
    if check and done.returncode:
        sys.exit(f"{shlex.join(words)}\n{done.stderr}")
    return done.stdout


def kubectl(*args: object, check: bool = True) -> str:
    return sh(BIN / "kubectl", "--kubeconfig", KUBECONFIG, *args, check=check)


def ctr(*args: object) -> str:
    return sh("ctr", "-a", SOCKET, "-n", "k8s.io", *args, check=False)


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 180) -> None:
    begin = time.monotonic()
    while not ready():
        if time.monotonic() - begin > seconds:
            sys.exit(f"{what} is not ready after {seconds} s; see {LOG}")
        time.sleep(0.2)
    print(f"{what} ready after {time.monotonic() - begin:.1f} s", flush=True)


def filled(name: str | Path) -> str:
    """A file of the config folder with its @NAMES@ replaced by this module's constants."""
    text = (CONFIG / name).read_text()
    return re.sub(r"@(\w+)@", lambda match: str(PLACEHOLDERS[match[1]]), text)


def start_time(pid: int) -> str | None:
    """When the process began, as the kernel counts; None if it has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if state == "Z" else fields[18]


def pid_of(name: str) -> int | None:
    file = RUN / f"{name}.pid"
    pid, born = file.read_text().split() if file.exists() else ("0", "")
    return int(pid) if start_time(int(pid)) == born else None


def start(name: str, *args: object, env: dict[str, str] | None = None) -> None:
    """Start a program that outlives this one, unless it runs."""
    if pid_of(name):
        return
    with (LOG / f"{name}.log").open("a") as log:
        words = [str(arg) for arg in args]
        process = subprocess.Popen(
            words,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=STATE,
            env={**os.environ, **(env or {})},
        )
    (RUN / f"{name}.pid").write_text(f"{process.pid} {start_time(process.pid)}")


def stop(name: str) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if pid := pid_of(name):
            os.kill(pid, number)
        for _ in range(50):
            if not pid_of(name):
                return
            time.sleep(0.1)


def run(name: str, env: dict[str, str] | None = None) -> None:
    """Start one of our own programs with the flags of its file."""
    start(name, BIN / name, *filled(f"flags/{name}").split(), env=env)
