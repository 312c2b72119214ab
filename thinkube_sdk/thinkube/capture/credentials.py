"""Credentials that stand in the source, and the names of those that were asked for."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from thinkube.capture.special import PLACEHOLDER
from thinkube.capture.values import Prompt
from thinkube.model.capture import Origin
from thinkube.model.errors import SecretInSource

# A cheap look at every string first: detect-secrets takes 200 ms to load.
_SHAPE = re.compile(
    r"(?<![A-Za-z0-9])(AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9]|sk-|sk_|rk_|pk_live|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|eyJ|SG\.|hf_|"
    r"AIza|gsk_|tvly-|nvapi-|lsv2_|pplx-|r8_|npm_|pypi-|dckr_pat_|xai-|key-)[A-Za-z0-9._-]{10,}|"
    r"BEGIN [A-Z0-9 ]*PRIVATE KEY|"
    r"://[^/\s:@]+:[^/\s@]+@|AccountKey=|[MNO][A-Za-z\d_-]{23,25}\.[A-Za-z\d_-]{6}\.[A-Za-z\d_-]{27}|hooks\.slack\.com/services/\w+"
)
_HASH = re.compile(
    r"^([0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{128}|sha\d+[:-].*)$", re.I
)
_UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.I)
_HARMLESS = re.compile(
    r"(?i)^(empty|none|null|not[-_ ]?(needed|required|used)|no[-_]?key|ollama|lm[-_]studio|local|"
    r"test|fake|dummy|unused|na|n/a|anything|password|secret|token|key|api[-_]?key|true|false|bearer|admin|redacted|hidden|masked|removed|secret_?value|x+)$"
)
_NAMES = re.compile(
    r"(?i)(^|_)(api_?key|auth_?key|secret(_?key)?|access_?key|private_?key|token|password|passwd|pwd|passphrase|credentials?|client_?secret|connection_?string)$"
)
# A setting inside a longer text, such as YAML.
_SETTING = re.compile(
    r"(?im)^[ \t]*[\"']?(\w*(?:api_?key|token|password|passwd|secret|"
    r"access_?key))[\"']?[ \t]*[:=][ \t]*[\"']?([^\s\"',{}<>$]{8,})[\"']?[ \t]*,?$"
)
# What Google gives to programs that sign in as a person.
_APP_PASSWORD = re.compile(r"^[a-z]{4}( [a-z]{4}){3}$")
_WORDS = re.compile(r"([A-Za-z0-9]+)[ _-]+(?:API|access|secret|auth)?[ _-]*(key|token|password|secret)", re.I)


def refuse_credentials(nodes: list[ast.AST], origins: Sequence[Origin | None]) -> None:
    """Refuse source that holds a key, token, password or connection string.

    Raises:
        SecretInSource: with cell and line, and what to write instead.
    """
    for node, name, value in _strings(nodes):
        named = bool(name) and bool(_NAMES.search(name))
        if not (named or _SHAPE.search(value)) or _innocent(value):
            continue
        what = _judge(value, name, named)
        if what is None:
            continue
        origin = origins[node.lineno - 1] if node.lineno <= len(origins) else None
        variable = re.sub(r"\W+", "_", name).upper().strip("_") if name else "NAME"
        raise SecretInSource(
            f"{what} stands in the source that would ship: {origin or f'line {node.lineno}'}.",
            f'Replace it by tk.secret("{variable}") and store it with `thinkube secret set {variable}`.',
        )


def _joined(node: ast.JoinedStr) -> str:
    """An f-string's own text, with a mark for each blank."""
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "blank" for part in node.values)


def _strings(nodes: list[ast.AST]) -> list[tuple[ast.expr, str, str]]:
    """Every string, with the name it is given to: a variable, a parameter, a key."""
    named: dict[int, str] = {}
    inside: dict[int, str] = {}
    found: list[tuple[ast.expr, str]] = []
    for node in nodes:
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            label = (
                target.id
                if isinstance(target, ast.Name)
                else target.attr
                if isinstance(target, ast.Attribute)
                else ""
            )
            if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                label = str(target.slice.value)
            named[id(node.value)] = label
        elif isinstance(node, ast.keyword):
            named[id(node.value)] = node.arg or ""
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            named[id(node.value)] = getattr(node.target, "id", "")
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant):
                    named[id(value)] = str(key.value)
        elif isinstance(node, ast.arguments):
            positional = [*node.posonlyargs, *node.args]
            for argument, default in zip(
                positional[len(positional) - len(node.defaults) :], node.defaults, strict=True
            ):
                named[id(default)] = argument.arg
            for argument, given in zip(node.kwonlyargs, node.kw_defaults, strict=True):
                if given is not None:
                    named[id(given)] = argument.arg
        elif isinstance(node, ast.Call) and len(node.args) == 2 and isinstance(node.args[0], ast.Constant):
            named[id(node.args[1])] = str(node.args[0].value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append((node, node.value))
            for label, value in _SETTING.findall(node.value) if "\n" in node.value else ():
                found.append((node, value))
                inside[len(found) - 1] = label
        elif isinstance(node, ast.JoinedStr):
            found.append((node, _joined(node)))
    return [(node, inside.get(n, named.get(id(node), "")), value) for n, (node, value) in enumerate(found)]


def _innocent(value: str) -> bool:
    if len(value) < 5 or _HARMLESS.match(value) or _UUID.match(value) or _HASH.match(value):
        return True
    if "://" in value or "PRIVATE KEY" in value:
        return bool(
            re.search(
                r"://[^/\s]*(<|\{|user:pass|username:password|:\*+@|:password@|:postgres@|:guest@|:root@)",
                value,
            )
        )
    return bool(PLACEHOLDER.search(value)) and not (
        _SHAPE.search(value) and re.search(r"[A-Za-z0-9]{20}", value)
    )


def _judge(value: str, name: str, named: bool) -> str | None:
    """What sort of credential this is, or None."""
    if named and _APP_PASSWORD.match(value):
        return "A password"
    if (
        named
        and not re.search(r"\s", value)
        and (re.search(r"\d", value) or len(value) >= 8)
        and "/" not in value[:1]
    ):
        plain = re.fullmatch(r"[a-z_.-]+|[A-Z_]+|[A-Z][a-z]+", value)
        if plain and not re.search(r"(?i)passw|pwd|passphrase", name):
            return None
        return "A credential"
    from detect_secrets.plugins.aws import AWSKeyDetector
    from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
    from detect_secrets.plugins.basic_auth import BasicAuthDetector
    from detect_secrets.plugins.discord import DiscordBotTokenDetector
    from detect_secrets.plugins.github_token import GitHubTokenDetector
    from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
    from detect_secrets.plugins.jwt import JwtTokenDetector
    from detect_secrets.plugins.openai import OpenAIDetector
    from detect_secrets.plugins.private_key import PrivateKeyDetector
    from detect_secrets.plugins.pypi_token import PypiTokenDetector
    from detect_secrets.plugins.sendgrid import SendGridDetector
    from detect_secrets.plugins.slack import SlackDetector
    from detect_secrets.plugins.stripe import StripeDetector
    from detect_secrets.plugins.twilio import TwilioKeyDetector

    detectors = (
        AWSKeyDetector, AzureStorageKeyDetector, BasicAuthDetector, DiscordBotTokenDetector,
        GitHubTokenDetector, GitLabTokenDetector, JwtTokenDetector, OpenAIDetector,
        PrivateKeyDetector, PypiTokenDetector, SendGridDetector, SlackDetector,
        StripeDetector, TwilioKeyDetector,
    )  # fmt: skip
    for detector in detectors:
        if any(detector().analyze_string(value)):
            return {"Basic Auth Credentials": "A connection string with a password"}.get(
                detector.secret_type, f"A credential ({detector.secret_type})"
            )
    if re.match(
        r"^(sk|pk|rk|hf|ghp|gho|xai|gsk|tvly|lsv2_[a-z]+|nvapi|pplx|r8|AIza|key)[-_]?[A-Za-z0-9_-]{16,}$",
        value,
    ):
        return "A credential"
    return None


def secret_name(prompt: Prompt, statement: ast.stmt) -> str:
    """The variable a prompt's value is supplied by."""
    if prompt.kind == "stored" and prompt.text:
        return prompt.text
    label = ""
    for node in ast.walk(statement):
        if isinstance(node, ast.keyword) and node.arg and _contains(node.value, prompt.node):
            label = node.arg
        elif isinstance(node, ast.Assign) and _contains(node.value, prompt.node):
            target = node.targets[0]
            label = target.id if isinstance(target, ast.Name) else getattr(target, "attr", label)
        elif isinstance(node, ast.Call) and any(_contains(part, prompt.node) for part in node.args):
            continue
    known = re.search(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", prompt.text)
    if known:
        return known[0]
    if label.lower() in {"", "api_key", "key", "token", "password", "secret"} and (
        word := _WORDS.search(prompt.text)
    ):
        kind = "API_KEY" if word[2].lower() == "key" else word[2].upper()
        if word[1].lower() not in {"your", "the", "an", "a", "enter", "my", "api"}:
            return f"{word[1].upper()}_{kind}"
    return re.sub(r"\W+", "_", label or "SECRET").upper()


def _contains(node: ast.AST, inner: ast.AST) -> bool:
    return any(part is inner for part in ast.walk(node))
