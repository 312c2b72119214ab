"""`thinkube.yaml`: one schema, read inside pods and written by packaging. Needs PyYAML and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from thinkube.model.bundle import Manifest
from thinkube.model.errors import ConfigurationError

FILE = "thinkube.yaml"
VERSION = "thinkube.io/v1"
KINDS = ("Agent", "Job")

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?")
_DOTTED = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_ENTRYPOINT = re.compile(rf"{_DOTTED}:{_DOTTED}")
_PYTHON = re.compile(r"3\.\d{1,2}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Problem = str | None


def _matches(pattern: re.Pattern[str], meaning: str) -> Callable[[str], Problem]:
    def check(value: str) -> Problem:
        return None if pattern.fullmatch(value) else f"{value!r} is not {meaning}"

    return check


def _is_version(value: str) -> Problem:
    if value == VERSION:
        return None
    return f"{value!r} is a format this version of Thinkube does not read; it reads {VERSION}"


def _is_kind(value: str) -> Problem:
    return None if value in KINDS else f"{value!r} is not one of {', '.join(KINDS)}"


def _is_inside(value: str) -> Problem:
    path = Path(value)
    if not value or path.is_absolute() or ".." in path.parts:
        return f"{value!r} is not a path inside the bundle"
    return None


def _anything(value: str) -> Problem:
    return None if value else "an empty text stands where a value is needed"


_variable = _matches(_VARIABLE, "the name of an environment variable")

# Key, shape, check of a single value (of a mapping: of its keys), required.
_SCHEMA: dict[str, tuple[str, Callable[[str], Problem], bool]] = {
    "apiVersion": ("text", _is_version, True),
    "kind": ("text", _is_kind, True),
    "name": (
        "text",
        _matches(_NAME, "a deployment name: lower-case letters, digits and hyphens, at most 53"),
        True,
    ),
    "entrypoint": ("text", _matches(_ENTRYPOINT, "an entry point such as `module:name`"), True),
    "template": ("text", _anything, True),
    "python": ("text", _matches(_PYTHON, 'a Python version such as "3.12", in quotes'), True),
    "requirements": ("text", _is_inside, False),
    "services": ("list", _anything, False),
    "secrets": ("list", _variable, False),
    "environment": ("mapping", _variable, False),
    "lineage": ("mapping", _anything, False),
}


def read(path: Path) -> Manifest:
    """Read a bundle's manifest.

    Args:
        path: the `thinkube.yaml`, or the folder it stands in.

    Raises:
        ConfigurationError: it is missing, not YAML, or not of the schema; names the line.

    Example:
        >>> read(Path("/nonexistent"))
        Traceback (most recent call last):
        thinkube.model.errors.ConfigurationError: /nonexistent: there is no such file
        ...
    """
    file = path / FILE if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{file}: there is no such file", "A bundle is a folder that `thinkube package` made."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: it can't be read: {error}") from error
    return parse(text, str(file))


def parse(text: str, source: str = FILE) -> Manifest:
    """Check the text of a manifest and turn it into a value. `source` is how errors name the file."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _refusal(source, line, f"this is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise _refusal(source, 1, f"this is not YAML: {error}") from error
    if not isinstance(root, yaml.MappingNode):
        raise _refusal(source, 1, "a mapping of keys to values is expected")
    values: dict[str, Any] = {}
    for key, node in root.value:
        name = _text(key, source)
        if name not in _SCHEMA:
            near = get_close_matches(name, _SCHEMA, n=1)
            known = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(_SCHEMA)}"
            raise _refusal(source, _line(key), f"`{name}` is not a key of {FILE}; {known}")
        if name in values:
            raise _refusal(source, _line(key), f"`{name}` stands here a second time")
        values[name] = _value(name, node, source)
    if missing := [name for name, (_, _, required) in _SCHEMA.items() if required and name not in values]:
        raise _refusal(source, 1, f"`{missing[0]}` is missing")
    del values["apiVersion"]
    return Manifest(**values)


def check(manifest: Manifest) -> None:
    """Refuse a manifest that `read` would refuse, before anything is written."""
    parse(write(manifest))


def write(manifest: Manifest) -> str:
    """The text of `thinkube.yaml`. The same manifest gives the same text, and `parse` gives it back."""
    document: dict[str, Any] = {
        "apiVersion": VERSION,
        "kind": manifest.kind,
        "name": manifest.name,
        "entrypoint": manifest.entrypoint,
        "template": manifest.template,
        "python": manifest.python,
        "requirements": manifest.requirements,
        "services": list(manifest.services),
        "secrets": list(manifest.secrets),
        "environment": dict(sorted(manifest.environment.items())),
        "lineage": dict(sorted(manifest.lineage.items())),
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)


def _value(name: str, node: yaml.Node, source: str) -> Any:
    shape, check, _ = _SCHEMA[name]
    if shape == "text":
        return _checked(_text(node, source), check, name, node, source)
    if shape == "list":
        if not isinstance(node, yaml.SequenceNode):
            raise _refusal(source, _line(node), f"`{name}` takes a list, such as [A, B]")
        return tuple(_checked(_text(item, source), check, name, item, source) for item in node.value)
    if not isinstance(node, yaml.MappingNode):
        raise _refusal(source, _line(node), f"`{name}` takes a mapping of names to texts")
    return MappingProxyType(
        {
            _checked(_text(key, source), check, name, key, source): _text(item, source)
            for key, item in node.value
        }
    )


def _checked(value: str, check: Callable[[str], Problem], name: str, node: yaml.Node, source: str) -> str:
    if problem := check(value):
        raise _refusal(source, _line(node), f"`{name}`: {problem}")
    return value


def _text(node: yaml.Node, source: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _refusal(source, _line(node), "a single text is expected here")
    if node.tag != "tag:yaml.org,2002:str":
        # YAML reads `3.10` as 3.1 and `on` as true: the quotes are what makes it a text.
        raise _refusal(source, _line(node), f'put {node.value} in quotes: "{node.value}"')
    return str(node.value)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _refusal(source: str, line: int, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{source}, line {line}: {problem}", f"Correct line {line} of {source}.")
