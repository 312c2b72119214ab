"""Bad input, bad agents, and clients that go away."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tests.serving import agents
from tests.serving.conftest import Serve, Served, write_bundle

LIMITS = {
    "THINKUBE_REQUEST_SECONDS": "1",
    "THINKUBE_REQUEST_BYTES": "1000",
    "THINKUBE_REQUEST_RUNS": "2",
    "THINKUBE_UPLOAD_SECONDS": "1",
}


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.01)


@pytest.fixture
def trouble(serve: Serve) -> Served:
    return serve(agents.TROUBLE, env=LIMITS)


@pytest.mark.parametrize("path", ["/invoke", "/stream", "/v1/chat/completions"])
@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [(b"{", 400, "malformed_json"), (b"\xff", 400, "malformed_json"), (b"[]", 422, "invalid_input"),
     (b"x" * 2000, 413, "body_too_large"), (b"[" * 900, 400, "malformed_json")],
)  # fmt: skip
def test_bad_bodies(trouble: Served, path: str, body: bytes, status: int, kind: str) -> None:
    answer = trouble.client.post(path, content=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert answer.json()["error"]["id"] == answer.headers["x-trace-id"]


def test_a_large_body_without_a_length_is_refused_while_it_comes(trouble: Served) -> None:
    def pieces():  # type: ignore[no-untyped-def]
        for _ in range(100):
            yield b"x" * 100

    assert trouble.client.post("/invoke", content=pieces()).status_code == 413


def test_a_request_that_dribbles_in_is_cut_off(trouble: Served) -> None:
    address = (trouble.client.base_url.host, trouble.client.base_url.port)
    with (
        socket.create_connection(address, timeout=5) as silent,
        socket.create_connection(address, timeout=5) as slow,
    ):
        slow.sendall(b"POST /invoke HTTP/1.1\r\nhost: x\r\nx-more:")
        assert slow.recv(100) == b""
        assert silent.recv(100) == b""
    with socket.create_connection(address, timeout=5) as slow:
        slow.sendall(b"POST /invoke HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[")
        assert b" 408 " in slow.recv(1000)
    with socket.create_connection(address, timeout=5) as patient:  # idle between two requests is fine
        for _ in range(2):
            patient.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            received = b""
            while b'"ok"' not in received:  # head and body may come apart
                part = patient.recv(1000)
                assert part
                received += part
            until(lambda: trouble.invoke({"do": "wait", "path": "/dev/null"}).status_code == 504)


def test_unknown_paths_and_methods_are_json(trouble: Served) -> None:
    assert trouble.client.get("/nowhere").json()["error"]["message"].startswith("There is no /nowhere")
    answer = trouble.client.get("/invoke")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert "message" in answer.json()["error"]


@pytest.mark.parametrize(
    ("do", "name"), [("raise", "ValueError"), ("exit", "SystemExit"), ("stop", "RuntimeError")]
)
def test_an_agent_that_raises_gives_an_id_that_leads_to_the_log(trouble: Served, do: str, name: str) -> None:
    answer = trouble.invoke({"do": do})
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text
    error = answer.json()["error"]
    assert name in error["message"]
    entry = next(e for e in trouble.logged() if e.get("trace") == error["id"] and "traceback" in e)
    assert "in agent" in entry["traceback"]
    assert trouble.output({"do": "on"}) == "on"


def test_an_error_in_a_stream_is_its_last_event(trouble: Served) -> None:
    assert [kind for kind, _ in trouble.events({"do": "raise"})] == ["error"]
    text = trouble.chat("raise", stream=True).text
    assert '"type":"agent_error"' in text


def test_results_without_a_json_form_are_named(trouble: Served) -> None:
    answer = trouble.invoke({"do": "lock"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "output_unserialisable")
    assert "output.held[1] is a lock" in answer.json()["error"]["message"]
    assert trouble.events({"do": "lock"})[-1][1]["error"]["type"] == "output_unserialisable"


def test_results_that_json_knows_only_with_help(trouble: Served) -> None:
    assert trouble.output({"do": "date"}) == {"day": "2026-01-02", "tags": [1]}
    assert trouble.output({"do": "nan"}) is None


@pytest.mark.parametrize("do", ["loop", "wait", "wait async"])
def test_a_run_past_its_time_is_stopped(trouble: Served, do: str, tmp_path: Path) -> None:
    answer = trouble.invoke({"do": do, "path": str(tmp_path / "end")})
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "run_timeout")
    if do != "loop":
        until((tmp_path / "end").exists)
    assert trouble.events({"do": do, "path": str(tmp_path / "end")})[-1][1]["error"]["type"] == "run_timeout"
    assert trouble.output({"do": "on"}) == "on"


@pytest.mark.parametrize("path", ["/invoke", "/stream"])
@pytest.mark.parametrize(("do", "end"), [("wait", "RunStopped"), ("wait async", "cancelled")])
def test_a_client_that_goes_away_stops_its_run(
    serve: Serve, path: str, do: str, end: str, tmp_path: Path
) -> None:
    served = serve(agents.TROUBLE)
    body = {"input": {"do": do, "path": str(tmp_path / "end")}}
    with pytest.raises(httpx.ReadTimeout):
        served.client.post(path, json=body, timeout=httpx.Timeout(10, read=0.3))
    until((tmp_path / "end").exists)
    until(lambda: (tmp_path / "end").read_text() == end)


def test_more_runs_than_allowed_are_turned_away(trouble: Served) -> None:
    def wait(_number: int) -> httpx.Response:
        return trouble.invoke({"do": "wait", "path": "/dev/null"})

    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(wait, range(3)))
    assert sorted(answer.status_code for answer in answers) == [503, 504, 504]
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)


def test_sigterm_answers_what_is_in_progress_and_then_ends(serve: Serve) -> None:
    source = "import time\ndef agent(question: str) -> str:\n    time.sleep(1)\n    return 'done'\n"
    served = serve(source)
    connection = socket.create_connection((served.client.base_url.host, served.client.base_url.port))
    connection.sendall(b'POST /invoke HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"hi"')
    until(lambda: served.client.get("/healthz").status_code == 200)
    served.client.close()
    started = time.monotonic()
    served.child.signal(15)
    answer = b""
    while piece := connection.recv(4096):
        answer += piece
    assert b"200 OK" in answer
    assert b'"output":"done"' in answer
    assert b"connection: close" in answer.lower()
    until(lambda: not served.child.alive)
    assert served.child.returncode == 0
    assert time.monotonic() - started < 5


def check(bundle: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "thinkube.serving", "check", "--bundle", str(bundle)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1)
    return report


@pytest.mark.parametrize(
    ("source", "error", "line"),
    [("def helper():\n    return 1 / 0\nagent = helper()\n", "ZeroDivisionError", 2),
     ("import sys\nsys.exit(3)\n", "SystemExit", 2),
     ("def agent(:\n", "SyntaxError", 1),
     ("import nowhere_to_be_found\n", "ModuleNotFoundError", 1)],
)  # fmt: skip
def test_check_says_what_the_import_raised_and_where(
    tmp_path: Path, source: str, error: str, line: int
) -> None:
    report = check(write_bundle(tmp_path, source))
    assert (report["ok"], report["error"]) == (False, error)
    assert report["frames"][-1]["line"] == line  # type: ignore[index]
    assert report["frames"][-1]["file"] == "trial_agent.py"  # type: ignore[index]


def test_check_of_other_troubles(tmp_path: Path) -> None:
    assert check(write_bundle(tmp_path / "a", "print('noise')\ndef agent(x): ..."))["kind"] == "function"
    assert check(write_bundle(tmp_path / "b", "other = 1"))["error"] == "AttributeError"
    assert check(write_bundle(tmp_path / "c", "agent = 42"))["error"] == "Unsupported"
    (tmp_path / "d").mkdir()
    assert check(tmp_path / "d")["error"] == "ConfigurationError"
