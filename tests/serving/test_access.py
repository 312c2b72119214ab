"""Who may call a deployed agent: keys, tokens of an issuer, scopes, rate, browsers of other origins."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.serving.conftest import Serve, Served, write_bundle

from thinkube.model.errors import UsageError
from thinkube.targets.keys import FileKeys

AGENT = "def agent(question: str) -> str:\n    return question.upper()\n"


@pytest.fixture
def keys(tmp_path: Path) -> FileKeys:
    return FileKeys(tmp_path / "keys.json", tmp_path / "owner.key")


@pytest.fixture
def guarded(serve: Serve, keys: FileKeys) -> Served:
    keys.own()
    return serve(AGENT, env={"THINKUBE_KEYS": str(keys.path)})


def status(served: Served, key: str | None = None, path: str = "/invoke", **headers: str) -> int:
    given = {**headers, **({"authorization": f"Bearer {key}"} if key else {})}
    if path == "/metrics":
        return served.client.get(path, headers=given).status_code
    return served.client.post(path, json={"input": "hello"}, headers=given).status_code


def test_only_who_shows_a_key_may_call(guarded: Served, keys: FileKeys) -> None:
    assert status(guarded, keys.own()) == 200
    assert status(guarded, keys.create("ada")) == 200, "a new key is valid at once"
    key = keys.create("by another header")
    assert status(guarded, **{"x-api-key": key}) == 200
    for wrong in (None, "tk_00000000_wrong", key[:-1], key + "x", key.upper(), "é"):
        headers = {"authorization": f"Bearer {wrong}".encode()} if wrong else {}
        answer = guarded.client.post("/invoke", json={"input": "hello"}, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["error"]["type"] in ("invalid_api_key", "missing_api_key")
    assert status(guarded, authorization=f"Basic {key}") == 401


@pytest.mark.parametrize("path", ["/invoke", "/stream", "/v1/chat/completions", "/nowhere"])
def test_no_path_but_the_probes_and_the_description_is_open(guarded: Served, path: str) -> None:
    assert status(guarded, path=path) == 401
    assert guarded.client.get("/v1/models").status_code == 401
    for each in ("/", "/docs", "/openapi.json", "/healthz", "/readyz"):
        assert guarded.client.get(each).status_code == 200
    assert guarded.client.get("/openapi.json").json()["security"] == [{"key": []}]
    assert 'id="key"' in guarded.client.get("/docs").text


def test_a_revoked_key_is_refused_with_the_next_request(guarded: Served, keys: FileKeys) -> None:
    key = keys.create("ci")
    assert status(guarded, key) == 200
    keys.revoke("ci")
    assert status(guarded, key) == 401
    with pytest.raises(UsageError, match="There is no key 'ci'"):
        keys.revoke("ci")


def test_a_key_expires(guarded: Served, keys: FileKeys) -> None:
    key = keys.create("short", seconds=1.5)
    assert status(guarded, key) == 200
    deadline = time.monotonic() + 10
    while status(guarded, key) == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    headers = {"authorization": f"Bearer {key}"}
    answer = guarded.client.post("/invoke", json={"input": "hello"}, headers=headers)
    assert answer.json()["error"]["type"] == "expired_api_key"


def test_a_key_does_what_its_scopes_say(guarded: Served, keys: FileKeys) -> None:
    assert status(guarded, keys.create("prometheus", ["metrics"])) == 403
    assert status(guarded, keys.create("caller"), "/metrics") == 403
    with pytest.raises(UsageError, match="There is no scope admin"):
        keys.create("root", ["admin"])


def test_neither_a_log_nor_a_file_of_digests_holds_a_key(guarded: Served, keys: FileKeys) -> None:
    key = keys.create("secret one")
    status(guarded, key)
    status(guarded, key + "x")
    assert key not in guarded.log.read_text()
    assert key not in keys.path.read_text()
    assert any(entry.get("caller") == key.split("_")[1] for entry in guarded.logged())
    for file in (keys.path, keys.owner):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_owner_who_revokes_the_own_key_gets_another(guarded: Served, keys: FileKeys) -> None:
    before = keys.own()
    keys.revoke(before.split("_")[1])
    assert status(guarded, before) == 401
    assert keys.own() != before
    assert status(guarded, keys.own()) == 200


def test_a_damaged_file_of_keys_lets_nobody_in(guarded: Served, keys: FileKeys) -> None:
    key, good = keys.own(), keys.path.read_text()
    keys.path.write_text(good[: len(good) // 2])
    assert status(guarded, key) == 503
    keys.path.write_text(good)
    assert status(guarded, key) == 200


def test_keys_from_the_environment_are_for_containers(serve: Serve) -> None:
    served = serve(AGENT, env={"THINKUBE_API_KEYS": "one-long-enough-key, another-long-enough-key"})
    assert status(served, "another-long-enough-key") == 200
    assert status(served, "one-long-enough-key, another-long-enough-key") == 401
    assert status(served) == 401


@pytest.mark.parametrize(
    ("host", "env", "said"),
    [
        ("0.0.0.0", {}, "has no keys, and at 0.0.0.0 others"),
        ("127.0.0.1", {"THINKUBE_AUTH": "maybe"}, "neither on nor off"),
        ("127.0.0.1", {"THINKUBE_REQUEST_RATE": "often"}, "no number above zero"),
        ("127.0.0.1", {"THINKUBE_API_KEYS": "short"}, "can be guessed"),
    ],
)
def test_what_would_be_open_by_mistake_does_not_start(
    tmp_path: Path, host: str, env: dict[str, str], said: str
) -> None:
    bundle = write_bundle(tmp_path / "bundle", AGENT)
    command = [
        sys.executable,
        "-m",
        "thinkube.serving",
        "--bundle",
        str(bundle),
        "--host",
        host,
        "--port",
        "0",
    ]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **env}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert said in done.stdout


def test_a_caller_who_asks_too_often_is_told_when_to_ask_again(serve: Serve, keys: FileKeys) -> None:
    fast, slow = keys.create("fast"), keys.create("slow")
    served = serve(AGENT, env={"THINKUBE_KEYS": str(keys.path), "THINKUBE_REQUEST_RATE": "0.5"})
    answers = [status(served, fast) for _ in range(8)]
    assert answers[:5] == [200] * 5
    assert 429 in answers[5:]
    answer = served.client.post(
        "/invoke", json={"input": "hello"}, headers={"authorization": f"Bearer {fast}"}
    )
    assert 1 <= int(answer.headers["retry-after"]) <= 3
    assert status(served, slow) == 200, "one caller's haste is not another's"
    assert served.client.get("/readyz").status_code == 200


def test_other_origins_pages_may_call_only_if_they_are_named(serve: Serve, guarded: Served) -> None:
    preflight = {"origin": "https://app.example.org", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in guarded.client.options("/invoke", headers=preflight).headers
    served = serve(AGENT, env={"THINKUBE_CORS_ORIGINS": "https://app.example.org"})
    answer = served.client.options("/invoke", headers=preflight)
    assert answer.headers["access-control-allow-origin"] == "https://app.example.org"
    preflight["origin"] = "https://elsewhere.example.org"
    assert "access-control-allow-origin" not in served.client.options("/invoke", headers=preflight).headers


class Keycloak:
    """An OpenID Connect issuer: what it says of itself, its keys, and the tokens it signs."""

    def __init__(self) -> None:
        self.keys = {"first": rsa.generate_private_key(public_exponent=65537, key_size=2048)}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(issuer.document(self.path)).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/realms/thinkube"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def document(self, path: str) -> dict[str, Any]:
        if path.endswith("openid-configuration"):
            return {"issuer": self.url, "jwks_uri": f"{self.url}/certs"}
        public = {name: key.public_key() for name, key in self.keys.items()}
        algorithm = jwt.algorithms.RSAAlgorithm
        return {
            "keys": [{**algorithm.to_jwk(key, as_dict=True), "kid": name} for name, key in public.items()]
        }

    def token(self, kid: str = "first", key: Any = None, **claims: Any) -> str:
        said = {"iss": self.url, "aud": "trial", "sub": "f3a1", "preferred_username": "ada",
                "groups": ["/agents"], "exp": time.time() + 300, **claims}  # fmt: skip
        return jwt.encode(said, key or self.keys[kid], algorithm="RS256", headers={"kid": kid})


@pytest.fixture(scope="module")
def issuer() -> Iterator[Keycloak]:
    made = Keycloak()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_an_issuers_token_is_taken_for_what_it_says(serve: Serve, issuer: Keycloak, keys: FileKeys) -> None:
    served = serve(
        AGENT,
        env={
            "THINKUBE_OIDC_ISSUER": issuer.url,
            "THINKUBE_OIDC_GROUPS": "agents",
            "THINKUBE_KEYS": str(keys.path),
        },
    )
    assert status(served, issuer.token()) == 200
    assert status(served, keys.own()) == 200, "keys are still taken"
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    refused = {
        "expired": issuer.token(exp=time.time() - 120),
        "of another audience": issuer.token(aud="another"),
        "without an audience": issuer.token(aud=None),
        "of another issuer": issuer.token(iss="https://elsewhere.example.org"),
        "signed by a stranger": issuer.token(key=stranger),
        "with an unknown key id": jwt.encode({"iss": issuer.url}, stranger, "RS256", headers={"kid": "none"}),
        "unsigned": jwt.encode({"iss": issuer.url, "aud": "trial", "sub": "x"}, "", algorithm="none"),
        "signed with a shared secret": jwt.encode(
            {"iss": issuer.url}, "x" * 32, "HS256", headers={"kid": "first"}
        ),
        "cut off": issuer.token()[:-10],
    }
    answers = {what: status(served, token) for what, token in refused.items()}
    assert answers == dict.fromkeys(refused, 401)
    assert status(served, issuer.token(groups=["visitors"])) == 403
    assert status(served, issuer.token(), "/metrics") == 403
