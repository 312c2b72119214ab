"""`tk.s3()` against a server that checks signatures and keys."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.services.conftest import free_port, wait_until

import thinkube as tk
from thinkube.errors import ConfigurationError, CredentialRejected, ServiceNotFound, ServiceUnreachable
from thinkube.model.endpoint import Credential
from thinkube.services.discovery import find
from thinkube.services.files import signed
from thinkube.services.probe import probe

# Calls that the server takes without a key: those that make the first user.
_OPEN_CALLS = "3"


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Credential]]:
    """An S3 server, and the keys of a user who may do everything there."""
    import boto3

    url = f"http://127.0.0.1:{(port := free_port())}"
    log = (tmp_path_factory.mktemp("s3") / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": _OPEN_CALLS},
        stdout=log,
        stderr=log,
    )
    try:
        wait_until(lambda: answers(f"{url}/moto-api/"), 60)
        iam = boto3.client(
            "iam", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        iam.create_user(UserName="ada")
        made = iam.create_access_key(UserName="ada")["AccessKey"]
        everything = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
        iam.put_user_policy(UserName="ada", PolicyName="all", PolicyDocument=everything)
        yield url, Credential(made["SecretAccessKey"], made["AccessKeyId"])
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        log.close()


def test_files_come_back(server: tuple[str, Credential], tmp_path: Path):
    url, credential = server
    s3 = tk.s3(url=url, credential=credential)
    s3.create_bucket(Bucket="results")
    (tmp_path / "report.csv").write_text("a,b\n1,2\n")
    s3.upload_file(str(tmp_path / "report.csv"), "results", "2026/über uns.csv")
    (listed,) = s3.list_objects_v2(Bucket="results")["Contents"]
    assert listed["Key"] == "2026/über uns.csv"
    assert s3.get_object(Bucket="results", Key=listed["Key"])["Body"].read() == b"a,b\n1,2\n"


@pytest.mark.usefixtures("empty_home")
def test_the_environment_s_own_names(server: tuple[str, Credential], monkeypatch: pytest.MonkeyPatch):
    url, credential = server
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", credential.username or "")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credential.secret)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert tk.s3().meta.region_name == "eu-central-1"
    row = tk.status()["s3"]
    assert (row.health, row.url) == ("up", url)


def test_a_wrong_key_is_rejected(server: tuple[str, Credential]):
    url, credential = server
    for wrong in (
        Credential("not the secret key", credential.username),
        Credential(credential.secret, "AKIAUNKNOWN"),
    ):
        with pytest.raises(CredentialRejected, match="refuses") as caught:
            tk.s3(url=url, credential=wrong)
        assert "AWS_SECRET_ACCESS_KEY" in caught.value.fix
        assert wrong.secret not in str(caught.value)


def test_a_key_without_its_other_half_is_refused(server: tuple[str, Credential]):
    url, credential = server
    with pytest.raises(ConfigurationError, match="two keys"):
        tk.s3(url=url, credential=Credential(credential.secret))
    assert probe(find("s3", url)).health == "refused"


def test_nothing_listens(unused_port: int):
    with pytest.raises(ServiceUnreachable, match="does not answer"):
        tk.s3(url=f"http://127.0.0.1:{unused_port}", credential=Credential("secret", "access"))


@pytest.mark.usefixtures("empty_home")
def test_keys_alone_never_lead_to_a_public_cloud(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(ServiceNotFound, match="AWS_ENDPOINT_URL_S3") as caught:
        tk.s3()
    assert "thinkube up" not in caught.value.fix, "the stack has no S3"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "https://s3.example.com/base"])
def test_a_signature_is_the_one_the_aws_library_makes(url: str):
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    theirs = AWSRequest("GET", f"{url}/")
    theirs.context["payload_signing_enabled"] = True
    signer = S3SigV4Auth(Credentials("AKIA", "secret+/="), "s3", "eu-central-1")
    signer.add_auth(theirs)
    moment = datetime.strptime(theirs.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = signed(url, "AKIA", "secret+/=", "eu-central-1", moment)
    assert ours["Authorization"] == theirs.headers["Authorization"]
