"""The credential of MLflow's requests, given to the server it belongs to and to no other.

MLflow loads this through the entry point `mlflow.request_auth_provider` when `MLFLOW_TRACKING_AUTH`
is `thinkube`. Its own variables for user and password would go to whatever server is set later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thinkube.model.endpoint import Endpoint
from thinkube.model.errors import ServiceNotFound
from thinkube.services.discovery import find
from thinkube.services.probe import authorization

if TYPE_CHECKING:
    from requests import PreparedRequest

NAME = "thinkube"

_known: dict[str, Endpoint] = {}


def remember(endpoint: Endpoint) -> None:
    """Use an endpoint's credential for requests to it."""
    _known[endpoint.url] = endpoint


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
        endpoint = _endpoint_of(request.url or "")
        if endpoint is not None:
            request.headers.update(authorization(endpoint))
        return request


def _endpoint_of(url: str) -> Endpoint | None:
    for base, endpoint in _known.items():
        if url.startswith(f"{base}/"):
            return endpoint
    # A process started by one that called `tk.mlflow()` has its place from it, and finds the same.
    try:
        found = find("mlflow")
    except ServiceNotFound:
        return None
    return found if url.startswith(f"{found.url}/") else None
