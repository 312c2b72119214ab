"""`thinkube.yaml`: what is written is read back, what is wrong is shown at its line."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as some

from thinkube.errors import ConfigurationError
from thinkube.model.bundle import Manifest
from thinkube.model.manifest import parse, read, schema, write

GOOD = Manifest(
    name="support",
    entrypoint="support:agent",
    kind="Agent",
    template="tkt-langchain-agent",
    python="3.10",
    services=("llm",),
    secrets=("TOKEN",),
    environment={"ON": "on", "NUMBER": "1", "TEXT": "a: b # c\n'\"{{ }}"},
    lineage={"notebook": "Café.ipynb"},
)


def test_what_is_written_is_read_back() -> None:
    again = parse(write(GOOD))
    assert again == GOOD
    assert again.python == "3.10"


words = some.text(some.characters(blacklist_categories=("Cs", "Cc")), max_size=30)


@given(some.dictionaries(some.from_regex(r"[A-Z_]{1,8}", fullmatch=True), words, max_size=4))
def test_any_setting_survives(environment: dict[str, str]) -> None:
    manifest = Manifest("a", "a:b", "Agent", "t", "3.12", environment=environment)
    assert parse(write(manifest)).environment == environment


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (("entrypoint:", "entrypiont:"), 4, "did you mean `entrypoint`?"),
        (("python: '3.10'", "python: 3.10"), 6, 'in quotes: "3.10"'),
        (("name: support", "name: Support Desk"), 3, "lower-case letters"),
        (("support:agent", "support.agent"), 4, "not an entry point"),
        (("kind: Agent", "kind: Deployment"), 2, "known are Agent, Job"),
        (("requirements.txt", "../requirements.txt"), 7, "inside the bundle"),
        (("v1", "v9"), 1, "it reads thinkube.io/v1"),
        (("services:\n- llm", "services: llm"), 8, "takes a list"),
        (("- TOKEN", "- MY TOKEN"), 11, "environment variable"),
        (("name: support", "name: [support]"), 3, "single text"),
        (("name: support", "name: 'support"), 6, "not YAML"),
        (("secrets:", "services:"), 10, "a second time"),
        (("template: tkt-langchain-agent\n", ""), 1, "`template` is missing"),
        (("name: support", "name: &a support\nenvironment: *b"), 4, "not YAML"),
    ],
)
def test_a_mistake_is_shown_at_its_line(
    tmp_path: Path, change: tuple[str, str], line: int, says: str
) -> None:
    file = tmp_path / "thinkube.yaml"
    text = write(GOOD)
    assert change[0] in text
    file.write_text(text.replace(*change, 1))
    with pytest.raises(ConfigurationError) as refusal:
        read(tmp_path)
    assert says in refusal.value.cause
    assert f"{file}, line {line}:" in refusal.value.cause


@pytest.mark.parametrize(
    "text", ["", "[]", "a", "\x00", "a: b: c", "- x", "!!python/object:os.system {}", "? [a]\n: b"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse(text)


def test_the_published_schema_is_this_one() -> None:
    published = Path(__file__).parents[2] / "docs" / "thinkube.schema.json"
    assert json.loads(published.read_text()) == schema()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "Support Desk"),
        ("name", "a" * 54),
        ("name", "-a"),
        ("entrypoint", "support.agent"),
        ("entrypoint", "support:1st"),
        ("kind", "Deployment"),
        ("apiVersion", "v1"),
        ("python", "3"),
        ("requirements", "../x"),
        ("requirements", "/etc/passwd"),
        ("requirements", "a/../b"),
        ("template", ""),
        ("services", "llm"),
        ("services", [""]),
        ("secrets", ["MY TOKEN"]),
        ("environment", {"A B": "x"}),
        ("environment", {"A": 1}),
        ("replicas", 0),
        ("replicas", "2"),
        ("replicas", 1.5),
        ("replicas", True),
        ("replicas", 101),
        ("cpu", "half"),
        ("cpu", 2),
        ("memory", "much"),
        ("memory", "512 MB"),
        ("surprise", "x"),
    ],
)
def test_schema_and_reader_refuse_the_same(key: str, value: object) -> None:
    good = yaml.safe_load(write(GOOD))
    jsonschema.validate(good, schema())
    wrong = {**good, key: value}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema())
    with pytest.raises(ConfigurationError):
        parse(yaml.safe_dump(wrong))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        read(tmp_path / "nowhere")
