"""The file of contexts: `~/.config/thinkube/config.toml`. Credentials are in it by name alone."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from thinkube.model.errors import ConfigurationError
from thinkube.services.table import SERVICES

VERSION = 1

_TOP = ("version", "context", "contexts")
_CONTEXT = ("services", "kubernetes")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """One service of a context.

    Attributes:
        url: where it is.
        secret: the name of its secret (`tk.secret`), if it asks for one.
        username: the user name or public key that goes with the secret.
        options: further settings, such as the default model's name.
        line: of the file, for errors.
    """

    url: str
    secret: str | None = None
    username: str | None = None
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    line: int = 0


@dataclass(frozen=True)
class Kubernetes:
    """How a context's cluster is reached, and where things run there.

    Attributes:
        kubeconfig: the file; `KUBECONFIG` or `~/.kube/config` if not named. In a pod, its service account.
        context: of that file; its current one if not named.
        namespace: where agents and jobs run; the kubeconfig context's own if not named.
        registry: host, and path if any, that images are pushed to.
        pull: what the cluster's nodes call that registry, where that differs.
        runtime: the image that an agent's image is based on; `{python}` stands for its Python version.
        pull_secret: the name of the Secret that nodes pull with.
        host: the host name of an agent's route; `{name}` and `{namespace}` stand for the deployment's.
        gateway: the Gateway that routes attach to, as `namespace/name`; without it `host` makes an Ingress.
        training: the image that jobs run on; `{python}` stands for its Python version.
        claim: the PersistentVolumeClaim with the folders of jobs.
    """

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    registry: str | None = None
    pull: str | None = None
    runtime: str | None = None
    pull_secret: str | None = None
    host: str | None = None
    gateway: str | None = None
    training: str | None = None
    claim: str | None = None


@dataclass(frozen=True)
class ContextFile:
    """What the file says.

    Attributes:
        path: where it is.
        chosen: the context it chooses, if any.
        contexts: the services of each context it names.
        clusters: the Kubernetes cluster of each context that has one.
    """

    path: Path
    chosen: str | None
    contexts: Mapping[str, Mapping[str, Place]]
    clusters: Mapping[str, Kubernetes] = field(default_factory=lambda: MappingProxyType({}))


def read(path: Path) -> ContextFile | None:
    """Read the file; None when there is none.

    Raises:
        ConfigurationError: it can't be understood; with the line and what is allowed there.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} can't be read: {error}.", "Make it a readable TOML file."
        ) from error
    return parse(path, text)


def parse(path: Path, text: str) -> ContextFile:
    """Understand the file's text.

    Raises:
        ConfigurationError: see `read`.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"{path} is not valid TOML: {error}.", f"Correct that line. Allowed keys: {', '.join(_TOP)}."
        ) from error
    return _Reader(path, _lines(text)).file(document)


class _Reader:
    """Checks a parsed file, key by key."""

    def __init__(self, path: Path, lines: Mapping[Keys, int]) -> None:
        self._path = path
        self._lines = lines

    def file(self, document: dict[str, Any]) -> ContextFile:
        if (version := document.get("version", VERSION)) != VERSION:
            raise ConfigurationError(
                f"{self._path} has version {version}; this Thinkube reads version {VERSION}.",
                "Use the version of thinkube-sdk that it was written for, or write it anew.",
            )
        self._keys((), document, _TOP)
        chosen = self._text((), document, "context")
        contexts = self._table(("contexts",), document.get("contexts", {}))
        return ContextFile(
            self._path,
            chosen,
            MappingProxyType({name: self._context(("contexts", name), contexts[name]) for name in contexts}),
            MappingProxyType(
                {
                    name: self._kubernetes(("contexts", name, "kubernetes"), contexts[name]["kubernetes"])
                    for name in contexts
                    if "kubernetes" in contexts[name]
                }
            ),
        )

    def _context(self, at: Keys, value: Any) -> Mapping[str, Place]:
        table = self._table(at, value)
        self._keys(at, table, _CONTEXT)
        services = self._table((*at, "services"), table.get("services", {}))
        self._keys((*at, "services"), services, tuple(SERVICES))
        return MappingProxyType(
            {name: self._place((*at, "services", name), name, services[name]) for name in services}
        )

    def _kubernetes(self, at: Keys, value: Any) -> Kubernetes:
        table = self._table(at, value)
        allowed = tuple(key.name for key in fields(Kubernetes))
        self._keys(at, table, allowed)
        return Kubernetes(**{key: self._text(at, table, key) for key in allowed})

    def _place(self, at: Keys, service: str, value: Any) -> Place:
        options = tuple(
            dict.fromkeys(name for way in SERVICES[service].environments for name, _ in way.options)
        )
        table = self._table(at, value)
        self._keys(at, table, ("url", "secret", "username", *options))
        url = self._text(at, table, "url")
        if url is None:
            self._refuse(at, f"{_dotted(at)} has no `url`", 'Say where the service is: url = "https://…"')
        if "@" in url.partition("://")[2].partition("/")[0]:
            self._refuse(
                (*at, "url"),
                "a credential stands in the URL",
                "Write the URL without it, store the secret with `thinkube secret set NAME`, and name it: "
                'secret = "NAME"',
            )
        secret = self._text(at, table, "secret")
        if secret is not None and not _NAME.fullmatch(secret):
            # What stands there may be the secret itself, so it is not repeated.
            self._refuse(
                (*at, "secret"),
                "`secret` holds something else than a secret's name",
                "Store the value with `thinkube secret set NAME` and write the name here.",
            )
        given = {name: text for name in options if (text := self._text(at, table, name)) is not None}
        return Place(url, secret, self._text(at, table, "username"), MappingProxyType(given), self._line(at))

    def _keys(self, at: Keys, table: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
        for key in table:
            if key not in allowed:
                near = get_close_matches(key, allowed, n=1)
                suggestion = f"Did you mean {near[0]!r}? " if near else ""
                where = f" in [{_dotted(at)}]" if at else ""
                self._refuse(
                    (*at, key), f"unknown key {key!r}{where}", f"{suggestion}Allowed: {', '.join(allowed)}."
                )

    def _table(self, at: Keys, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._refuse(at, f"{_dotted(at)} is not a table", f"Write it as [{_dotted(at)}].")
        return value

    def _text(self, at: Keys, table: Mapping[str, Any], key: str) -> str | None:
        value = table.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            self._refuse((*at, key), f"{_dotted((*at, key))} is no text", f'Write it as {key} = "…".')
        return value

    def _refuse(self, at: Keys, cause: str, fix: str) -> NoReturn:
        raise ConfigurationError(f"{self._path}, line {self._line(at)}: {cause}.", fix)

    def _line(self, at: Keys) -> int:
        while at:
            inside = [line for path, line in self._lines.items() if path[: len(at)] == at]
            if inside:
                return min(inside)
            at = at[:-1]
        return 1


def choose(text: str, name: str) -> str:
    """The file's text with another context chosen; everything else in it stays.

    Example:
        >>> choose('# mine\\ncontext = "local"\\n', "team")
        '# mine\\ncontext = "team"\\n'
    """
    chosen = f'context = "{name}"'
    lines = text.splitlines()
    before_tables = next((n for n, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    for number in range(before_tables):
        if _keys_of(lines[number]) == ("context",):
            lines[number] = chosen
            return "\n".join(lines) + "\n"
    if not text.strip():
        return f"version = {VERSION}\n{chosen}\n"
    return "\n".join([*lines[:before_tables], chosen, *([""] if before_tables < len(lines) else []),
                      *lines[before_tables:]]) + "\n"  # fmt: skip


def _lines(text: str) -> dict[Keys, int]:
    """The line each key is written in: the TOML parser of the standard library doesn't tell."""
    lines: dict[Keys, int] = {}
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            table = _keys_in(line)
            lines.setdefault(table, number)
        elif keys := _keys_of(line):
            lines.setdefault((*table, *keys), number)
    return lines


def _keys_of(line: str) -> Keys:
    key, equals, _ = line.partition("=")
    return _keys_in(f"{key} = 0") if equals and not line.lstrip().startswith("#") else ()


def _keys_in(line: str) -> Keys:
    try:
        value: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()  # a line within a longer value
    path: list[str] = []
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        path.append(key)
    return tuple(path)


def _dotted(at: Keys) -> str:
    return ".".join(at)
