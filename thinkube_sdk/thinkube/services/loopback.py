"""Requests to services of this machine never take the way through a proxy."""

from __future__ import annotations

import os
from ipaddress import ip_address
from urllib.parse import urlsplit

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("example.org")
        (True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bypass_proxy(url: str) -> None:
    """Except the host of `url` from this process's proxies, if it is a loopback address and there are any.

    The clients (httpx, requests, the exporters) all read `NO_PROXY`; it is the one place that reaches them.
    """
    host = urlsplit(url).hostname or ""
    if not is_loopback(host) or not any(os.environ.get(n) or os.environ.get(n.upper()) for n in _PROXIES):
        return
    for name in ("NO_PROXY", "no_proxy"):
        excepted = [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]
        if host not in excepted and "*" not in excepted:
            os.environ[name] = ",".join([*excepted, host])
