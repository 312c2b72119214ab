"""Releases as versions of a registered model in MLflow, through its REST API.

`mlflow.MlflowClient` makes the same requests, after an import of 3.3 s that `deploy` would wait for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from thinkube.model.endpoint import Endpoint
from thinkube.model.errors import ServiceError, UsageError
from thinkube.model.release import Release
from thinkube.services.probe import rejected, unreachable

if TYPE_CHECKING:
    import httpx

DIGEST = "thinkube.digest"
_LINEAGE = "thinkube.lineage."
_MADE_BY = "thinkube.template"
_API = "/api/2.0/mlflow"


class MlflowIndex:
    """One deployment's releases in MLflow.

    Args:
        endpoint: the tracking server.
        name: the deployment's name, which the registered model has too.
    """

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self._endpoint = endpoint
        self._name = name

    def releases(self) -> list[Release]:
        """Every release that is indexed, oldest first.

        Raises:
            ServiceUnreachable, CredentialRejected: MLflow does not answer, or not to us.
            UsageError: the name belongs to a model that Thinkube did not register.
        """
        with self._client() as client:
            model = self._call(client, "GET", "/registered-models/get", {"name": self._name})
            if model is None:
                return []
            self._own(model["registered_model"])
            return sorted(
                (self._release(version) for version in self._versions(client)),
                key=lambda release: release.version,
            )

    def add(self, digest: str, source: str, lineage: Mapping[str, str], tags: Mapping[str, str]) -> Release:
        """Index one more release. MLflow counts the version."""
        with self._client() as client:
            if self._call(client, "GET", "/registered-models/get", {"name": self._name}) is None:
                about = {"name": self._name, "description": "Releases of a Thinkube deployment."}
                owned = {**about, "tags": _pairs({_MADE_BY: tags[_MADE_BY]})}
                self._call(client, "POST", "/registered-models/create", owned)
            facts = {
                **tags,
                DIGEST: digest,
                **{f"{_LINEAGE}{key}": value for key, value in lineage.items()},
            }
            body = {"name": self._name, "source": source, "tags": _pairs(facts)}
            created = self._call(client, "POST", "/model-versions/create", body)
            if created is None:
                raise ServiceError(f"MLflow lost the registered model {self._name}", "Deploy again.")
            return self._release(created["model_version"])

    def _versions(self, client: httpx.Client) -> Iterator[Mapping[str, Any]]:
        query = {"filter": f"name='{self._name}'", "max_results": "1000"}
        while True:
            page = self._call(client, "GET", "/model-versions/search", query) or {}
            yield from (
                version
                for version in page.get("model_versions", ())
                if any(tag["key"] == DIGEST for tag in version.get("tags", ()))
            )
            if not page.get("next_page_token"):
                return
            query["page_token"] = page["next_page_token"]

    def _own(self, model: Mapping[str, Any]) -> None:
        if not any(tag["key"] == _MADE_BY for tag in model.get("tags", ())):
            raise UsageError(
                f"MLflow at {self._endpoint.url} has a model {self._name!r} that Thinkube did not register",
                "Deploy under another name, so that its versions are not mixed with that model's.",
            )

    def _release(self, version: Mapping[str, Any]) -> Release:
        tags = {tag["key"]: tag.get("value", "") for tag in version.get("tags", ())}
        return Release(
            name=self._name,
            version=int(version["version"]),
            digest=tags[DIGEST],
            created=int(version["creation_timestamp"]) / 1000,
            source=version["source"],
            registry=self._endpoint.url,
            lineage={
                key.removeprefix(_LINEAGE): value
                for key, value in sorted(tags.items())
                if key.startswith(_LINEAGE)
            },
        )

    def _client(self) -> httpx.Client:
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

    def _call(
        self, client: httpx.Client, method: str, path: str, data: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """One request; None where the model does not exist."""
        import httpx

        place = f"MLflow at {self._endpoint.url} ({self._endpoint.source})"
        try:
            if method == "GET":
                response = client.get(_API + path, params=dict(data))
            else:
                response = client.post(_API + path, json=data)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise unreachable(self._endpoint, str(error) or type(error).__name__) from error
        if response.status_code in (401, 403):
            raise rejected(self._endpoint)
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
            f"{place} refuses {path}: {answer.get('message', response.status_code)}", "See the server's log."
        )


def _pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]
