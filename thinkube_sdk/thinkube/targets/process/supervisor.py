"""The supervisor of one deployment: holds its listening socket and switches releases behind it.

A detached process, `python -m thinkube.targets.process.supervisor FOLDER`; standard library only. The
socket is never closed while the deployment exists: connections that come while no worker runs wait in
its queue.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

from thinkube.model.release import Release
from thinkube.model.settings import KEYS, STATE
from thinkube.targets.failure import Failure
from thinkube.targets.process import control, record
from thinkube.targets.process.control import Talk
from thinkube.targets.process.keeper import Program
from thinkube.targets.process.record import Places, Record
from thinkube.targets.process.replicas import Replicas

BACKLOG = 2048
DRAIN_SECONDS = 330.0  # a run's longest time and some more
STOP_SECONDS = 10.0
TURN_AWAY_SECONDS = 5.0  # a worker whose event loop is blocked can't tell
LOG_BYTES = 20_000_000
LOOK_SECONDS = 2.0


class Supervisor:
    """One deployment's releases behind one socket."""

    def __init__(self, places: Places, saved: Record) -> None:
        self._places = places
        self._listener, port = _listen(saved.port)
        self._record = replace(saved, port=port)
        self._rolling = threading.Lock()
        self._keeper: Replicas | None = None
        self._draining: dict[Replicas, threading.Thread] = {}
        self._variables: Mapping[str, str] = {}
        self._stopping = threading.Event()
        self.stopped = threading.Event()

    def answer(self, question: Mapping[str, Any], talk: Talk) -> Mapping[str, Any]:
        """Do what a control message asks."""
        if question["do"] == "stop":
            self.stop()
            return {"ok": True}
        if question["do"] == "status":
            return self._status()
        with self._rolling:
            variables = {**(self._variables if question["inherit"] else {}), **question["variables"]}
            wanted = replace(
                self._record,
                copy=question["copy"],
                python=question["python"],
                settings=MappingProxyType(question["settings"]),
                variables=tuple(sorted(variables)),
                timeout=question["timeout"],
                replicas=question.get("replicas", 1),
            )
            program = _program(wanted, variables, self._places)
            keeper = Replicas(program, self._listener, self._places.log, wanted.replicas)
            if question["do"] == "resume":
                assert wanted.release is not None
                keeper.keep_trying(wanted.release.version)
                return self._switch(keeper, wanted, variables)
            return self._roll_out(keeper, wanted, variables, talk)

    def stop(self) -> None:
        """End the workers, then the supervisor."""
        self._stopping.set()
        with self._rolling:
            threads = list(self._draining.values())
            for keeper in filter(None, [self._keeper, *self._draining]):
                threads.append(threading.Thread(target=keeper.stop, args=(STOP_SECONDS,)))
                threads[-1].start()
            for thread in threads:
                thread.join()
        self.stopped.set()

    def _roll_out(
        self, keeper: Replicas, wanted: Record, variables: Mapping[str, str], talk: Talk
    ) -> Mapping[str, Any]:
        """Load a release; switch to it when the asker, who now knows its version, says so."""

        def cancelled() -> bool:
            return talk.gone() or self._stopping.is_set()

        loaded = keeper.load(cancelled)
        if isinstance(loaded, Failure):
            return self._failed(loaded, wanted)
        talk.say({"ok": True, "kind": loaded, "notes": keeper.notes})
        word = talk.hear()
        if word is None:
            keeper.stop(0.0)
            return self._failed(Failure("cancelled", "", "the rollout was interrupted"), wanted)
        lineage = MappingProxyType(word["release"]["lineage"])
        release = Release(**{**word["release"], "lineage": lineage})
        if (failure := keeper.serve(release.version, cancelled)) is not None:
            return self._failed(failure, wanted)
        return self._switch(keeper, replace(wanted, release=release), variables)

    def _failed(self, failure: Failure, wanted: Record) -> Mapping[str, Any]:
        shutil.rmtree(wanted.copy, ignore_errors=True)
        if self._keeper is None:
            # A first release came to nothing, and maybe nobody asks any more: nothing is left to supervise.
            threading.Thread(target=self.stop, daemon=True).start()
        return {"ok": False, "failure": asdict(failure)}

    def _switch(self, keeper: Replicas, wanted: Record, variables: Mapping[str, str]) -> Mapping[str, Any]:
        """Give a release the traffic, and let the one before drain."""
        before, self._keeper = self._keeper, keeper
        old_copy, self._record, self._variables = self._record.copy, wanted, variables
        record.write(self._places, wanted)
        if before is not None:
            before.turn_away(TURN_AWAY_SECONDS)
            thread = threading.Thread(target=self._retire, args=(before, old_copy), daemon=True)
            self._draining[before] = thread
            thread.start()
        return self._status()

    def _retire(self, keeper: Replicas, copy: str) -> None:
        keeper.drain(DRAIN_SECONDS)
        shutil.rmtree(copy, ignore_errors=True)
        del self._draining[keeper]

    def _status(self) -> Mapping[str, Any]:
        keeper = self._keeper
        return {
            "ok": True,
            "port": self._record.port,
            "record": self._record.to_dict(),
            "state": keeper.state if keeper else "starting",
            "pid": keeper.pid if keeper else None,
            "pids": keeper.pids if keeper else [],
            "restarts": keeper.restarts if keeper else 0,
            "detail": keeper.detail if keeper else "",
            "draining": [keeper.pid for keeper in list(self._draining)],
        }


def _program(wanted: Record, variables: Mapping[str, str], places: Places) -> Program:
    env = {KEYS.variable: str(places.keys), STATE.variable: str(places.state), **variables, **wanted.settings}
    return Program(wanted.name, Path(wanted.copy), Path(wanted.python), env, wanted.timeout)


def _listen(port: int) -> tuple[socket.socket, int]:
    """The deployment's socket, on the port it had before unless someone else has taken it."""
    for wanted in (port, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            print(f"port {wanted} is taken: {error}", flush=True)
            continue
        return listener, int(listener.getsockname()[1])
    raise SystemExit("no port is free")


def _look_after(places: Places, supervisor: Supervisor) -> None:
    """Keep the log within bounds, and end when someone has removed the deployment's folder."""
    own = places.lock.stat().st_ino
    while not supervisor.stopped.wait(LOOK_SECONDS):
        if not places.lock.exists() or places.lock.stat().st_ino != own:
            supervisor.stop()
            return
        if places.log.exists() and places.log.stat().st_size > LOG_BYTES:
            # Workers append, so that an emptied file is written on from its start.
            shutil.copyfile(places.log, places.log.with_suffix(".1"))
            os.truncate(places.log, 0)


def main(folder: Path) -> int:
    places = Places(folder)
    lock = places.hold()
    if lock is None:
        return 0
    saved = record.read(places) or Record(folder.name)
    supervisor = Supervisor(places, saved)

    def end(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=supervisor.stop, daemon=True).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server = control.listen(places.control)
    for target, arguments in (
        (control.serve, (server, supervisor.answer)),
        (_look_after, (places, supervisor)),
    ):
        threading.Thread(target=target, args=arguments, daemon=True).start()
    supervisor.stopped.wait()
    time.sleep(0.05)  # lets the answer to `stop` out
    places.control.unlink(missing_ok=True)
    if record.read(places) is None:
        shutil.rmtree(places.folder, ignore_errors=True)
    lock.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
