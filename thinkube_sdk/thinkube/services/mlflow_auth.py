"""The credential of MLflow's requests, given to the server it belongs to and to no other.

MLflow loads this through the entry point `mlflow.request_auth_provider` when `MLFLOW_TRACKING_AUTH`
is `thinkube`. Its own variables for user and password would go to whatever server is set later.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from thinkube.model.endpoint import Credential, Endpoint
from thinkube.model.errors import ServiceNotFound
from thinkube.services.discovery import find

if TYPE_CHECKING:
    from requests import PreparedRequest

NAME = "thinkube"

_known: dict[str, Credential] = {}


def remember(endpoint: Endpoint) -> None:
    """Use an endpoint's credential for requests to it."""
    if endpoint.credential is not None:
        _known[endpoint.url] = endpoint.credential


class AuthProvider:
    """What MLflow asks for the authentication of a request."""

    def get_name(self) -> str:
        """The value of `MLFLOW_TRACKING_AUTH` that names this provider."""
        return NAME

    def get_auth(self) -> RequestAuth:
        """A `requests` authentication."""
        return RequestAuth()


class RequestAuth:
    """Adds the credential to a request when it goes where the credential belongs."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        credential = _credential_for(request.url or "")
        if credential is not None:
            pair = f"{credential.username or ''}:{credential.secret}".encode()
            request.headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return request


def _credential_for(url: str) -> Credential | None:
    for base, credential in _known.items():
        if url.startswith(f"{base}/"):
            return credential
    # A process started by one that called `tk.mlflow()` has its place from it, and finds the same.
    try:
        endpoint = find("mlflow")
    except ServiceNotFound:
        return None
    return endpoint.credential if url.startswith(f"{endpoint.url}/") else None
