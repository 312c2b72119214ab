"""The settings Thinkube itself reads from the environment, in one table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from thinkube.model.errors import ConfigurationError


@dataclass(frozen=True)
class Setting:
    """One environment variable.

    Attributes:
        variable: its name.
        default: what holds without it, in words.
        purpose: what it does, for the documentation.
    """

    variable: str
    default: str
    purpose: str


HOME = Setting("THINKUBE_HOME", "~/.thinkube", "Data of the local stack, releases and deployments.")
CACHE = Setting(
    "THINKUBE_CACHE", "$XDG_CACHE_HOME/thinkube or ~/.cache/thinkube", "Environments that can be made again."
)
CONTEXT = Setting(
    "THINKUBE_CONTEXT",
    "the file's choice; in-cluster in a pod; else local",
    "The context services are looked up in.",
)
REQUEST_BYTES = Setting(
    "THINKUBE_REQUEST_BYTES", "10485760", "How large a request to a deployed agent may be."
)
REQUEST_SECONDS = Setting("THINKUBE_REQUEST_SECONDS", "300", "How long a deployed agent's run may take.")
REQUEST_RUNS = Setting(
    "THINKUBE_REQUEST_RUNS", "256", "How many runs of a deployed agent may be in progress."
)
UPLOAD_SECONDS = Setting(
    "THINKUBE_UPLOAD_SECONDS", "30", "How long a request to a deployed agent may take to arrive."
)
JOBS_AT_ONCE = Setting("THINKUBE_JOBS_AT_ONCE", "1", "How many local jobs without a GPU run at once.")

REQUEST_RATE = Setting(
    "THINKUBE_REQUEST_RATE",
    "no limit",
    "How many requests a second a caller may send to a deployed agent; as many as in ten seconds at once.",
)
AUTH = Setting("THINKUBE_AUTH", "on", "`off` lets everyone who can reach a deployed agent call it.")
KEYS = Setting("THINKUBE_KEYS", "the deployment's own", "The file of an agent's keys, as digests.")
API_KEYS = Setting(
    "THINKUBE_API_KEYS",
    "none",
    "Keys of an agent that runs by itself, with commas between.",
)
OIDC_ISSUER = Setting("THINKUBE_OIDC_ISSUER", "none", "The OpenID Connect issuer whose tokens are taken.")
OIDC_AUDIENCE = Setting(
    "THINKUBE_OIDC_AUDIENCE", "the deployment's name", "What its tokens' `aud` has to hold."
)
OIDC_GROUPS = Setting(
    "THINKUBE_OIDC_GROUPS", "everyone", "Groups, with commas between; a token's `groups` has to hold one."
)
CORS_ORIGINS = Setting(
    "THINKUBE_CORS_ORIGINS", "none", "Origins, with commas between, whose pages may call an agent."
)
ACCESS = (AUTH, KEYS, API_KEYS, OIDC_ISSUER, OIDC_AUDIENCE, OIDC_GROUPS, CORS_ORIGINS, REQUEST_RATE)
STATE = Setting(
    "THINKUBE_STATE",
    "the deployment's folder under THINKUBE_HOME",
    "Where a deployed agent keeps its threads; they outlive its releases.",
)
THREADS_URL = Setting(
    "THINKUBE_THREADS_URL",
    "a SQLite file in THINKUBE_STATE",
    "The Postgres database that keeps an agent's threads, as postgresql://user:password@host/database.",
)
THREADS_BUSY = Setting(
    "THINKUBE_THREADS_BUSY",
    "queue",
    "What happens to a request on a thread that has a run in progress: reject, queue or interrupt.",
)

SETTINGS = (
    *ACCESS,
    HOME,
    CACHE,
    CONTEXT,
    REQUEST_BYTES,
    REQUEST_SECONDS,
    REQUEST_RUNS,
    UPLOAD_SECONDS,
    JOBS_AT_ONCE,
    STATE,
    THREADS_URL,
    THREADS_BUSY,
)


def whole_number(setting: Setting) -> int:
    """The value of a setting that counts something.

    Raises:
        ConfigurationError: it is no whole number above zero.
    """
    text = os.environ.get(setting.variable) or setting.default
    if not text.isdecimal() or int(text) < 1:
        raise ConfigurationError(
            f"{setting.variable}={text!r} is no whole number above zero.", f"Set it to {setting.default}."
        )
    return int(text)


def home() -> Path:
    """The folder that holds what must not be lost."""
    return Path(os.environ.get(HOME.variable) or "~/.thinkube").expanduser().absolute()


def config_file() -> Path:
    """The file that describes contexts; a person writes it."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser().absolute()
    return folder / "thinkube" / "config.toml"


def cache() -> Path:
    """The folder that holds what can be made again."""
    if chosen := os.environ.get(CACHE.variable):
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "thinkube"
