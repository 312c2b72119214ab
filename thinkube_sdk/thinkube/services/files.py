"""Files on a server that speaks S3."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from thinkube.model.endpoint import Credential, Endpoint
from thinkube.model.errors import ConfigurationError
from thinkube.services.discovery import find
from thinkube.services.installed import load
from thinkube.services.probe import Answer, failure, open_url, verify

if TYPE_CHECKING:
    from botocore.client import BaseClient

# What servers other than AWS take for the region; some insist on this very one.
_REGION = "us-east-1"
# Answers that say: the key is known, and may not list buckets.
_KNOWN = (b"<Code>AccessDenied</Code>", b"<Code>AllAccessDisabled</Code>")


def s3(*, url: str | None = None, credential: Credential | None = None, **options: Any) -> BaseClient:
    """A boto3 client for S3.

    Args:
        url: where the service is, if it should not be looked for.
        credential: its secret key, with the access key as user name, together with `url`.
        options: passed on to `boto3.client`, such as `region_name="eu-central-1"` or `config=Config(…)`.

    Raises:
        ServiceNotFound: no S3 is known. A key alone never leads to a public cloud.
        ServiceUnreachable: it doesn't answer.
        CredentialRejected: it refuses the keys.
        ConfigurationError: one of the two keys is missing.
        ClientMissing: `boto3` is not installed.

    Example:
        s3 = tk.s3()
        s3.upload_file("report.csv", "results", "2026/report.csv")
    """
    endpoint = find("s3", url, credential)
    library = load("s3", "boto3")
    access, secret = keys(endpoint)
    verify(endpoint)
    config = load("s3", "botocore.config").Config(
        # A bucket in the host's name needs DNS for each bucket, which a server of one's own rarely has.
        s3={"addressing_style": "path"}
    )
    client: BaseClient = library.client(
        "s3",
        endpoint_url=endpoint.url,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        **{"region_name": endpoint.options.get("region", _REGION), "config": config, **options},
    )
    return client


def keys(endpoint: Endpoint) -> tuple[str, str]:
    """Access key and secret key.

    Raises:
        ConfigurationError: one of them is missing.
    """
    credential = endpoint.credential
    if credential is None or credential.username is None:
        raise ConfigurationError(
            f"S3 at {endpoint.url}, found through {endpoint.source}, comes without its two keys.",
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY beside its URL.",
        )
    return credential.username, credential.secret


def ask(endpoint: Endpoint, timeout: float) -> Answer:
    """Ask for the list of buckets: whether the server answers and knows the key."""
    region = endpoint.options.get("region", _REGION)
    try:
        headers = signed(endpoint.url, *keys(endpoint), region, datetime.now(UTC))
    except ConfigurationError:
        return Answer("refused", "it needs an access key and a secret key")
    request = urllib.request.Request(f"{endpoint.url}/", headers=headers)
    try:
        with open_url(request, timeout) as answer:
            return Answer("up", date=answer.headers.get("Date", ""))
    except urllib.error.HTTPError as error:
        with contextlib.closing(error):
            date, told = error.headers.get("Date", ""), error.read(65536)
            if error.code in (400, 401, 403) and not any(code in told for code in _KNOWN):
                return Answer("refused", f"HTTP {error.code}", date=date)
            if error.code >= 500:
                return Answer("down", f"HTTP {error.code}", date=date)
            return Answer("up", date=date)
    except (OSError, http.client.HTTPException) as error:
        return Answer("down", failure(error))


def signed(url: str, access: str, secret: str, region: str, now: datetime) -> dict[str, str]:
    """The headers of a signed GET of the root: AWS Signature Version 4.

    Loading boto3 to ask this one question would take longer than a whole `thinkube status`.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    parts, empty = urlsplit(url), hashlib.sha256(b"").hexdigest()
    named = {"host": parts.netloc, "x-amz-content-sha256": empty, "x-amz-date": moment}
    names = ";".join(named)
    canonical = "\n".join(
        ["GET", f"{parts.path}/", "", *(f"{name}:{value}" for name, value in named.items()), "", names, empty]
    )
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return {
        **{name: value for name, value in named.items() if name != "host"},
        "Authorization": f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={names}, "
        f"Signature={signature}",
    }
