"""The name of an image, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass

from thinkube.model.errors import ConfigurationError

_REPOSITORY = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
_NAME = re.compile(
    rf"(?P<repository>{_REPOSITORY})(?::(?P<tag>[\w][\w.-]{{0,127}}))?(?:@(?P<digest>\S+:\S+))?"
)
_HUB = "docker.io"


@dataclass(frozen=True)
class Reference:
    """Where an image is.

    Attributes:
        host: of its registry, with the port if any.
        repository: its path there.
        tag: a name of one of its versions.
        digest: `sha256:…`, which means one content for ever.
    """

    host: str
    repository: str
    tag: str = "latest"
    digest: str = ""

    @property
    def version(self) -> str:
        """What the registry's API asks for."""
        return self.digest or self.tag

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}" + (f"@{self.digest}" if self.digest else f":{self.tag}")


def parse(text: str) -> Reference:
    """Take a name apart, as Docker reads it.

    Raises:
        ConfigurationError: it is no name of an image.

    Example:
        >>> str(parse("python:3.12")), parse("127.0.0.1:5000/team/agent@sha256:ab").repository
        ('docker.io/library/python:3.12', 'team/agent')
    """
    host, slash, rest = text.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = _HUB, text if slash else f"library/{text}"
    match = _NAME.fullmatch(rest)
    if match is None:
        raise ConfigurationError(
            f"{text!r} is not the name of an image.", "Write it as host:port/path:tag, in lower case."
        )
    return Reference(host, match["repository"], match["tag"] or "latest", match["digest"] or "")


def base_url(host: str) -> str:
    """The address of a registry's API: plain HTTP on this machine alone, as Docker has it."""
    name = host.rpartition(":")[0] or host
    scheme = "http" if name in ("localhost", "127.0.0.1", "[::1]") else "https"
    return f"{scheme}://{'registry-1.docker.io' if host == _HUB else host}"
