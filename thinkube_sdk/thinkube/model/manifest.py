"""`thinkube.yaml`: one schema, read inside pods and written by packaging. Needs PyYAML and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import yaml

from thinkube.model.bundle import Manifest
from thinkube.model.errors import ConfigurationError

FILE = "thinkube.yaml"
VERSION = "thinkube.io/v1"
KINDS = ("Agent", "Job")
MOST_REPLICAS = 100

_WORD = r"[^\W\d]\w*"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


@dataclass(frozen=True)
class Key:
    """One key of `thinkube.yaml`.

    Attributes:
        shape: of its value.
        purpose: what it says, for the documentation.
        pattern: what its text, each text of its list, or each name of its mapping has to match.
        meaning: what such a text is, for errors.
        choices: the only texts there are, in place of a pattern.
        required: whether it has to be there.
    """

    shape: Literal["text", "list", "mapping", "number"]
    purpose: str
    pattern: str = r"(?s).+"
    meaning: str = "a text that is not empty"
    choices: tuple[str, ...] = ()
    required: bool = False


KEYS = {
    "apiVersion": Key("text", "Format of this file.", choices=(VERSION,), required=True),
    "kind": Key("text", "What runs: a service, or work that ends.", choices=KINDS, required=True),
    "name": Key(
        "text",
        "Name of the deployment.",
        r"[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?",
        "a deployment name: lower-case letters, digits and hyphens, at most 53",
        required=True,
    ),
    "entrypoint": Key(
        "text",
        "The object that runs, importable with the bundle's folder first on sys.path.",
        rf"{_WORD}(\.{_WORD})*:{_WORD}(\.{_WORD})*",
        "an entry point such as `module:name`",
        required=True,
    ),
    "template": Key("text", "The template that rendered the project.", required=True),
    "python": Key(
        "text",
        "Python it runs on.",
        r"3\.\d{1,2}",
        'a Python version such as "3.12", in quotes',
        required=True,
    ),
    "requirements": Key(
        "text",
        "The locked requirements.",
        r"(?!/)(?!(.*/)?\.\.(/|$)).+",
        "a path inside the bundle",
    ),
    "services": Key("list", "Thinkube services the code uses."),
    "secrets": Key("list", "Secrets it reads, by name.", _VARIABLE, "the name of an environment variable"),
    "environment": Key(
        "mapping", "Plain settings of its process.", _VARIABLE, "the name of an environment variable"
    ),
    "lineage": Key("mapping", "Where it came from."),
    "replicas": Key(
        "number", "How many processes or pods serve it.", "", f"a number from 1 to {MOST_REPLICAS}"
    ),
    "cpu": Key(
        "text", "What each of them asks for.", r"\d{1,4}(\.\d{1,3})?|\d{1,7}m", 'cores such as "2" or "500m"'
    ),
    "memory": Key(
        "text",
        "What each of them may use.",
        r"\d{1,9}(\.\d{1,3})?([KMGT]i?|k)",
        'an amount of memory such as "512Mi" or "2Gi"',
    ),
}


def schema() -> dict[str, Any]:
    """The same as JSON Schema, for editors: the published form of this table."""
    shapes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "text": lambda text: text,
        "list": lambda text: {"type": "array", "items": text},
        "mapping": lambda text: {
            "type": "object",
            "propertyNames": text,
            "additionalProperties": {"type": "string"},
        },
    }
    properties = {}
    for name, key in KEYS.items():
        if key.shape == "number":
            whole = {"type": "integer", "minimum": 1, "maximum": MOST_REPLICAS}
            properties[name] = {"description": key.purpose, **whole}
            continue
        # JSON Schema knows no inline flags, and its patterns are not anchored.
        pattern = {} if key.pattern == Key.pattern else {"pattern": f"^(?:{key.pattern})$"}
        text = {"enum": list(key.choices)} if key.choices else {"type": "string", "minLength": 1, **pattern}
        properties[name] = {"description": key.purpose, **shapes[key.shape](text)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": FILE,
        "type": "object",
        "properties": properties,
        "required": [name for name, key in KEYS.items() if key.required],
        "additionalProperties": False,
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
        if name not in KEYS:
            near = get_close_matches(name, KEYS, n=1)
            known = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(KEYS)}"
            raise _refusal(source, _line(key), f"`{name}` is not a key of {FILE}; {known}")
        if name in values:
            raise _refusal(source, _line(key), f"`{name}` stands here a second time")
        values[name] = _value(name, node, source)
    if missing := [name for name, key in KEYS.items() if key.required and name not in values]:
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
    defaults = {"replicas": 0, "cpu": "", "memory": ""}
    document |= {key: value for key, less in defaults.items() if (value := getattr(manifest, key)) != less}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)


def _value(name: str, node: yaml.Node, source: str) -> Any:
    key = KEYS[name]
    if key.shape == "text":
        return _checked(name, node, source)
    if key.shape == "number":
        return _number(name, node, source)
    if key.shape == "list":
        if not isinstance(node, yaml.SequenceNode):
            raise _refusal(source, _line(node), f"`{name}` takes a list, such as [A, B]")
        return tuple(_checked(name, item, source) for item in node.value)
    if not isinstance(node, yaml.MappingNode):
        raise _refusal(source, _line(node), f"`{name}` takes a mapping of names to texts")
    return MappingProxyType({_checked(name, key, source): _text(item, source) for key, item in node.value})


def _number(name: str, node: yaml.Node, source: str) -> int:
    text = node.value if isinstance(node, yaml.ScalarNode) else ""
    whole = isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:int"
    if not whole or not re.fullmatch(r"\d{1,4}", text) or not 1 <= int(text) <= MOST_REPLICAS:
        shown = text or "this"
        raise _refusal(source, _line(node), f"`{name}`: {shown} is not {KEYS[name].meaning}")
    return int(text)


def _checked(name: str, node: yaml.Node, source: str) -> str:
    value, key = _text(node, source), KEYS[name]
    if key.choices and value not in key.choices:
        known = f"it reads {VERSION}" if name == "apiVersion" else f"known are {', '.join(key.choices)}"
        raise _refusal(source, _line(node), f"`{name}`: this version of Thinkube has no {value!r}; {known}")
    if not re.fullmatch(key.pattern, value):
        raise _refusal(source, _line(node), f"`{name}`: {value!r} is not {key.meaning}")
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
