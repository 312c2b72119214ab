"""The package indexes this machine is set up for: uv reads its own settings, and here those of pip."""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path

# pip's setting, uv's variable for it, and others of uv's that say the same.
_SETTINGS = (
    ("index-url", "UV_DEFAULT_INDEX", ("UV_INDEX_URL",)),
    ("extra-index-url", "UV_INDEX", ("UV_EXTRA_INDEX_URL",)),
    ("find-links", "UV_FIND_LINKS", ()),
    ("cert", "SSL_CERT_FILE", ()),
)


def uv_environment() -> dict[str, str]:
    """The environment uv is to run in: this process's, and what pip's settings say that uv's don't."""
    settings = _pip_settings()
    chosen = dict(os.environ)
    for name, variable, others in _SETTINGS:
        if name in settings and not any(other in os.environ for other in (variable, *others)):
            chosen[variable] = " ".join(settings[name].split())
    if "UV_INDEX" in chosen and "UV_INDEX" not in os.environ:
        # pip takes a version from whichever index has it; uv would stop at the first that knows the name.
        chosen.setdefault("UV_INDEX_STRATEGY", "unsafe-first-match")
    return chosen


def _pip_settings() -> Mapping[str, str]:
    """pip's settings in pip's order: files from the general to the particular, then variables."""
    found: dict[str, str] = {}
    for path in _pip_files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip refuses such a file by itself; here it is only a hint
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update({key.replace("_", "-"): value for key, value in parser.items(section) if value})
    for name, _, _ in _SETTINGS:
        if value := os.environ.get(f"PIP_{name.replace('-', '_').upper()}"):
            found[name] = value
    return found


def _pip_files() -> list[Path]:
    chosen = os.environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    support = Path("~/Library/Application Support/pip/pip.conf").expanduser()
    places = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        Path("~/.pip/pip.conf").expanduser(),
        support if support.parent.is_dir() else settings / "pip" / "pip.conf",
        Path(sys.prefix) / "pip.conf",
    ]
    return [*places, Path(chosen)] if chosen else places
