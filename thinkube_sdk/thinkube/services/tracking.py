"""Experiments and models in MLflow."""

from __future__ import annotations

import os
from types import ModuleType

from thinkube.model.endpoint import Credential
from thinkube.services import mlflow_auth
from thinkube.services.discovery import ENVIRONMENT, find
from thinkube.services.exported import export
from thinkube.services.installed import load
from thinkube.services.probe import verify


def mlflow(*, url: str | None = None, credential: Credential | str | None = None) -> ModuleType:
    """The `mlflow` module, with tracking and registry set.

    Args:
        url: where the service is, if it should not be looked for.
        credential: its user and password, together with `url`.

    Raises:
        ServiceNotFound: no MLflow is known.
        ServiceUnreachable: it doesn't answer.
        CredentialRejected: it refuses the credential.
        ClientMissing: `mlflow` is not installed.

    Example:
        mlflow = tk.mlflow()
        with mlflow.start_run():
            mlflow.log_metric("hits", 3)
    """
    endpoint = find("mlflow", url, credential)
    verify(endpoint)
    library: ModuleType = load("mlflow", "mlflow")
    if endpoint.source.startswith(ENVIRONMENT):
        return library  # MLflow reads the very same variables
    mlflow_auth.remember(endpoint)
    # Left from another server, these would be sent to this one.
    for variable in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        os.environ.pop(variable, None)
    export({"MLFLOW_TRACKING_URI": endpoint.url, "MLFLOW_TRACKING_AUTH": mlflow_auth.NAME})
    library.set_tracking_uri(endpoint.url)
    library.set_registry_uri(endpoint.url)
    return library
