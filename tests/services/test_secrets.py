"""Secrets by name: where they are kept, what wins, and that nothing shows them."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

import thinkube as tk
from thinkube.errors import ConfigurationError, SecretNotFound, UsageError
from thinkube.services import secrets

VALUE = "tvly-0123456789 with ünusual = characters\nand a second line"


@pytest.fixture(autouse=True)
def place(empty_home: Path) -> Path:
    return empty_home / "secrets.json"


def test_what_is_stored_comes_back_as_it_was(place: Path):
    secrets.store("SEARCH_KEY", VALUE)
    assert tk.secret("SEARCH_KEY") == VALUE
    assert place.stat().st_mode & 0o777 == 0o600
    assert place.parent.stat().st_mode & 0o077 == 0
    assert json.loads(place.read_text())["version"] == 1


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch):
    secrets.store("SEARCH_KEY", "stored")
    monkeypatch.setenv("SEARCH_KEY", "exported")
    assert tk.secret("SEARCH_KEY") == "exported"
    assert [each.source for each in secrets.stored()] == ["the environment variable SEARCH_KEY"]


def test_a_secret_that_is_nowhere_says_how_to_store_it(place: Path):
    with pytest.raises(SecretNotFound, match="no secret SEARCH_KEY") as caught:
        tk.secret("SEARCH_KEY")
    assert str(place) in caught.value.cause
    assert "thinkube secret set SEARCH_KEY" in caught.value.fix


def test_a_deleted_secret_is_gone(place: Path):
    secrets.store("SEARCH_KEY", VALUE)
    secrets.store("OTHER_KEY", "kept")
    secrets.delete("SEARCH_KEY")
    assert [each.name for each in secrets.stored()] == ["OTHER_KEY"]
    assert "tvly" not in place.read_text()
    with pytest.raises(SecretNotFound, match="SEARCH_KEY"):
        secrets.delete("SEARCH_KEY")


def test_a_value_given_as_the_name_is_not_repeated():
    with pytest.raises(UsageError) as caught:
        tk.secret("sk-live-0123456789")
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "with\0zero"])
def test_what_no_variable_can_hold_is_refused(value: str):
    with pytest.raises(UsageError, match="SEARCH_KEY"):
        secrets.store("SEARCH_KEY", value)


def test_a_list_shows_names_alone():
    secrets.store("SEARCH_KEY", VALUE)
    assert "tvly" not in repr(secrets.stored())


def test_secrets_set_at_once_are_all_kept():
    names = [f"KEY_{number}" for number in range(12)]
    threads = [threading.Thread(target=secrets.store, args=(name, f"value of {name}")) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.name for each in secrets.stored()} == set(names)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"version": 1, "secrets": {"KEY": "va', "can't be read"),
        ("[]", "can't be read"),
        ('{"version": 1, "secrets": {"KEY": 5}}', "can't be read"),
        ('{"version": 7, "secrets": {}}', "has version 7; this Thinkube reads version 1"),
    ],
)
def test_a_broken_file_is_refused_with_a_way_out(place: Path, content: str, told: str):
    place.parent.mkdir()
    place.write_text(content)
    place.chmod(0o600)
    with pytest.raises(ConfigurationError, match=told) as caught:
        tk.secret("SEARCH_KEY")
    assert str(place) in caught.value.cause
    assert caught.value.fix
    assert '"va' not in str(caught.value)
    with pytest.raises(ConfigurationError):
        secrets.store("SEARCH_KEY", VALUE)
    assert place.read_text() == content, "what can't be read is not overwritten"


def test_a_file_that_others_can_read_is_refused(place: Path):
    secrets.store("SEARCH_KEY", VALUE)
    place.chmod(0o644)
    with pytest.raises(ConfigurationError, match="others than its owner") as caught:
        tk.secret("SEARCH_KEY")
    assert f"chmod 600 {place}" in caught.value.fix
