"""Personal data and credentials in texts: found by form, and replaced by what they are."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator

_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}")
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_ADDRESS = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4})(?![\w:])"
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
# International, in brackets, or grouped: a plain number of digits is no telephone number.
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ ./-]?(?:\(\d{1,4}\)[ ./-]?)?\d(?:[ ./-]?\d){6,12}"
    r"|\(\d{2,5}\)[ ./-]?\d(?:[ ./-]?\d){4,9}|\d{3}[ .-]\d{3}[ .-]\d{4}"
    r"|0\d{2,4}[ /-]\d(?:[ -]?\d){4,9})(?![\w-])"
)


def redact(text: str) -> tuple[str, Counter[str]]:
    """Replace personal data and credentials.

    Returns:
        The text, and how often each kind was found.

    Example:
        >>> redact("Write to ada@example.org")[0]
        'Write to [EMAIL]'
    """
    found: Counter[str] = Counter()
    # Credentials first: an address in `postgres://user:password@host` must not hide the password.
    for secret in sorted(set(_secrets(text)), key=len, reverse=True):
        found["SECRET"] += text.count(secret)
        text = text.replace(secret, "[SECRET]")
    for kind, pattern, valid in (
        ("EMAIL", _EMAIL, None),
        ("IBAN", _IBAN, _is_iban),
        ("CARD", _CARD, _is_card),
        ("IP", _ADDRESS, _is_address),
        ("PHONE", _PHONE, None),
    ):

        def replaced(match: re.Match[str], kind: str = kind, valid: object = valid) -> str:
            if callable(valid) and not valid(match[0]):
                return match[0]
            found[kind] += 1
            return f"[{kind}]"

        text = pattern.sub(replaced, text)
    return text, found


def _secrets(text: str) -> Iterator[str]:
    from detect_secrets.core.scan import scan_line
    from detect_secrets.settings import transient_settings

    plugins = (
        "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "DiscordBotTokenDetector",
        "GitHubTokenDetector", "GitLabTokenDetector", "JwtTokenDetector", "KeywordDetector",
        "MailchimpDetector",
        "NpmDetector", "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector",
        "SlackDetector", "SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector",
        "TwilioKeyDetector",
    )  # fmt: skip
    with transient_settings({"plugins_used": [{"name": name} for name in plugins]}):
        for line in text.splitlines():
            for secret in scan_line(line):
                if secret.secret_value and len(secret.secret_value) > 5:
                    yield secret.secret_value


def _is_card(text: str) -> bool:
    """Luhn's checksum."""
    digits = [int(each) for each in text if each.isdigit()]
    doubled = [
        each if place % 2 == 0 else each * 2 - 9 * (each > 4) for place, each in enumerate(digits[::-1])
    ]
    return sum(doubled) % 10 == 0


def _is_iban(text: str) -> bool:
    plain = text.replace(" ", "")
    return int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
