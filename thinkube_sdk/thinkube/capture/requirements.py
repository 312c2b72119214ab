"""What a notebook asked pip for."""

from __future__ import annotations

import re
import shlex

_NAME = re.compile(
    r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9._, -]+\])?\s*([<>=!~]=?.*)?(;.*)?$"
)
_EGG = re.compile(r"#egg=([A-Za-z0-9._-]+)")
_URL = re.compile(r"^([A-Za-z0-9._-]+(\[[^\]]+\])?)\s*@\s*\S+$")
# Options of `pip install` that take a value.
_VALUED = frozenset(
    word
    for line in (
        "-r --requirement -c --constraint -e --editable -t --target -i --index-url",
        "--extra-index-url -f --find-links --platform --python-version --implementation --abi",
        "--root --prefix --src --upgrade-strategy --no-binary --only-binary --progress-bar",
        "--cache-dir --timeout --retries --proxy --trusted-host --log --python -p --index",
        "--default-index --torch-backend --index-strategy --prerelease --resolution --report",
    )
    for word in line.split()
)


def pip_requirements(command: str) -> list[str]:
    """The requirement strings of a `pip install …` command, without options, files, URLs or hosts.

    Example:
        >>> pip_requirements('pip install -qU "langgraph>=1" openai --index-url x && echo done')
        ['langgraph>=1', 'openai']
    """
    match = re.search(r"\b(?:pip3?|uv|conda|mamba)\b.*?\b(?:install|add)\b(.*)", command)
    if not match:
        return []
    text = re.split(r"&&|\|\||;\s|\s\|\s|\s2?>", match[1])[0]
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        words = text.split()
    found: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in _VALUED
        elif egg := _EGG.search(word):
            found.append(egg[1])
        elif url := _URL.match(word):
            found.append(url[1])
        elif _NAME.match(word) and not word.endswith((".txt", ".whl", ".gz", ".zip")):
            found.append(word)
    return found
