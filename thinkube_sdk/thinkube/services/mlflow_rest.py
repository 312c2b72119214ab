"""MLflow's REST API, for what can't wait 3.3 s for the import of `mlflow`, or runs where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from thinkube.model.endpoint import Endpoint
from thinkube.model.errors import ServiceError
from thinkube.services.probe import rejected, unreachable

if TYPE_CHECKING:
    import httpx

_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


class MlflowRest:
    """One tracking server.

    Args:
        endpoint: where it is.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client: httpx.Client | None = None

    def __enter__(self) -> MlflowRest:
        self._client = self._connection()
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def get(self, path: str, query: Mapping[str, Any]) -> dict[str, Any] | None:
        """Ask; None where there is no such thing.

        Raises:
            ServiceUnreachable, CredentialRejected: it does not answer, or not to us.
            ServiceError: it refuses.
        """
        return self._call("GET", _API + path, params=dict(query))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Change something; raises as `get`."""
        return self._call("POST", _API + path, json=dict(body))

    def put_artifact(self, uri: str, name: str, content: bytes) -> bool:
        """Keep a file with a run.

        Args:
            uri: the run's `artifact_uri`.

        Returns:
            Whether the server takes files itself; else they go to a storage that only its own client knows.
        """
        scheme, _, place = uri.partition(":")
        if scheme != "mlflow-artifacts":
            return False
        path = place.lstrip("/") if not place.startswith("//") else place[2:].partition("/")[2]
        self._call("PUT", f"{_ARTIFACTS}/{quote(path)}/{quote(name)}", content=content)
        return True

    def _connection(self) -> httpx.Client:
        import httpx

        credential = self._endpoint.credential
        headers, login = {}, None
        if credential and credential.username:
            login = httpx.BasicAuth(credential.username, credential.secret)
        elif credential:
            headers = {"Authorization": f"Bearer {credential.secret}"}
        return httpx.Client(
            base_url=self._endpoint.url,
            auth=login,
            headers=headers,
            timeout=httpx.Timeout(30, connect=3),
            # A proxy set for the network must not get requests to this machine.
            trust_env=urlsplit(self._endpoint.url).hostname not in ("127.0.0.1", "localhost", "::1"),
        )

    def _call(self, method: str, path: str, **sent: Any) -> dict[str, Any] | None:
        import httpx

        place = f"MLflow at {self._endpoint.url} ({self._endpoint.source})"
        if self._client is None:
            with self:
                return self._call(method, path, **sent)
        try:
            response = self._client.request(method, path, **sent)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise unreachable(self._endpoint, str(error) or type(error).__name__) from error
        if response.status_code in (401, 403):
            raise rejected(self._endpoint)
        if response.is_success and not response.content.strip():
            return {}
        try:
            answer = response.json()
        except ValueError as error:
            raise ServiceError(
                f"{place} answers {response.status_code} with something that is not MLflow's API",
                "Check the address: is it the tracking server's?",
            ) from error
        if response.is_success:
            return dict(answer)
        if answer.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise ServiceError(
            f"{place} refuses {path.removeprefix(_API)}: {answer.get('message', response.status_code)}",
            "See the server's log.",
        )


def pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags or parameters as the API takes them."""
    return [{"key": key, "value": value} for key, value in tags.items()]
