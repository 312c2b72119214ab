"""Releases as versions of a registered model in MLflow, through its REST API.

`mlflow.MlflowClient` makes the same requests, after an import of 3.3 s that `deploy` would wait for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from thinkube.model.endpoint import Endpoint
from thinkube.model.errors import ServiceError, UsageError
from thinkube.model.release import Release
from thinkube.services.mlflow_rest import MlflowRest, pairs

DIGEST = "thinkube.digest"
_LINEAGE = "thinkube.lineage."
_MADE_BY = "thinkube.template"


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
        with MlflowRest(self._endpoint) as client:
            model = client.get("/registered-models/get", {"name": self._name})
            if model is None:
                return []
            self._own(model["registered_model"])
            return sorted(
                (self._release(version) for version in self._versions(client)),
                key=lambda release: release.version,
            )

    def add(self, digest: str, source: str, lineage: Mapping[str, str], tags: Mapping[str, str]) -> Release:
        """Index one more release. MLflow counts the version."""
        with MlflowRest(self._endpoint) as client:
            if client.get("/registered-models/get", {"name": self._name}) is None:
                about = {"name": self._name, "description": "Releases of a Thinkube deployment."}
                owned = {**about, "tags": pairs({_MADE_BY: tags[_MADE_BY]})}
                client.post("/registered-models/create", owned)
            facts = {
                **tags,
                DIGEST: digest,
                **{f"{_LINEAGE}{key}": value for key, value in lineage.items()},
            }
            body = {"name": self._name, "source": source, "tags": pairs(facts)}
            created = client.post("/model-versions/create", body)
            if created is None:
                raise ServiceError(f"MLflow lost the registered model {self._name}", "Deploy again.")
            return self._release(created["model_version"])

    def _versions(self, client: MlflowRest) -> Iterator[Mapping[str, Any]]:
        query = {"filter": f"name='{self._name}'", "max_results": "1000"}
        while True:
            page = client.get("/model-versions/search", query) or {}
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
