"""Where a service is, with what credential, and how we know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Credential:
    """What a service asks for: a secret, and a user name or public key where there is one."""

    secret: str = field(repr=False)
    username: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """One service found.

    Attributes:
        service: its name in the service table (`thinkube.services.table`).
        url: base URL, without a credential in it.
        credential: from the same place as the URL, or None where the service asks for none.
        source: the sentence that says where this was found.
        backend: the product behind it where that matters (spans may go to `langfuse` or to `mlflow`).
        options: further settings that belong to the place, such as the default model's name.
    """

    service: str
    url: str
    credential: Credential | None = field(repr=False)
    source: str
    backend: str | None = None
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
