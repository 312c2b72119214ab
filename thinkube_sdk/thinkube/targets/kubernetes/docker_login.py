"""Who one is at a registry, by Docker's own configuration: its file, or the helper that the file names."""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thinkube.model.errors import ConfigurationError

HELPER_SECONDS = 30.0
_TOKEN_USER = "<token>"  # what helpers give as user name where the secret is an identity token


@dataclass(frozen=True)
class Login:
    """A user name and password, or an identity token."""

    username: str
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)


def login(host: str) -> Login | None:
    """The login for a registry's host, or None where Docker has none.

    Raises:
        ConfigurationError: the file or the helper that it names can't be used.
    """
    folder = Path(os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser()
    file = folder / "config.json"
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} can't be read: {error}.", "Log in again: docker login") from error
    names: tuple[str, ...] = (host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/")
    if host == "docker.io":
        names = (*names, "https://index.docker.io/v1/")
    helper = (read.get("credHelpers") or {}).get(host)
    if helper:
        return _helped(helper, host)
    stored: dict[str, Any] = read.get("auths") or {}
    entry = next((stored[name] for name in names if stored.get(name)), None)
    if entry:
        return _stored(entry, host, file)
    if read.get("credsStore"):
        return next((found for name in names if (found := _helped(read["credsStore"], name))), None)
    return None


def _stored(entry: dict[str, Any], host: str, file: Path) -> Login:
    if entry.get("username"):
        return Login(entry["username"], entry.get("password", ""), entry.get("identitytoken", ""))
    try:
        username, _, password = base64.b64decode(entry.get("auth", ""), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The login for {host} in {file} can't be read.", f"Log in again: docker login {host}"
        ) from error
    return Login(username, password, entry.get("identitytoken", ""))


def _helped(helper: str, host: str) -> Login | None:
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"], input=host, capture_output=True, text=True, timeout=HELPER_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(
            f"{program}, which Docker's configuration names for {host}, can't be run: {error}.",
            "Put it on PATH, or log in without it: docker login",
        ) from error
    if done.returncode:
        return None  # a helper's way to say that it has none
    given = json.loads(done.stdout)
    if given["Username"] == _TOKEN_USER:
        return Login("", "", given["Secret"])
    return Login(given["Username"], given["Secret"])
