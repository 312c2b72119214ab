"""Experiments and models in MLflow."""

from __future__ import annotations

from types import ModuleType

from thinkube.model.endpoint import Credential
from thinkube.services.discovery import find
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
    if endpoint.source.startswith("the environment"):
        library: ModuleType = load("mlflow", "mlflow")
        return library
    # MLflow reads its credential from the environment, at every request.
    export(
        {"MLFLOW_TRACKING_URI": endpoint.url},
        {
            "MLFLOW_TRACKING_USERNAME": endpoint.credential.username if endpoint.credential else None,
            "MLFLOW_TRACKING_PASSWORD": endpoint.credential.secret if endpoint.credential else None,
        },
    )
    library = load("mlflow", "mlflow")
    library.set_tracking_uri(endpoint.url)
    return library
