"""MLflow's server in one process: SQLite and files, behind a password.

`mlflow server` starts a second Python that only waits for its one worker; this saves its memory and
the seconds it takes to import MLflow twice.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

USERNAME = "thinkube"

_AUTH = """\
[mlflow]
default_permission = MANAGE
database_uri = sqlite:///{data}/users.db
admin_username = {username}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


def settings(data: Path, password: str) -> dict[str, str]:
    """The environment of the server; its auth configuration is written into `data`."""
    from thinkube.model.private import write_private

    data.mkdir(parents=True, exist_ok=True)
    write_private(data / "auth.ini", _AUTH.format(data=data, username=USERNAME, password=password))
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(data / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": password,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{data}/mlflow.db",
        "_MLFLOW_SERVER_REGISTRY_STORE": f"sqlite:///{data}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(data / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
    }


def main(port: int, password: str) -> None:
    """Serve until a signal comes."""
    import uvicorn
    from mlflow.server import auth
    from mlflow.server.handlers import initialize_backend_stores

    from thinkube.stack.tracking_upgrade import upgrade

    store = os.environ["_MLFLOW_SERVER_FILE_STORE"]
    upgrade(Path(store.removeprefix("sqlite:///")))
    initialize_backend_stores(store, store, os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"])
    app = auth.create_app()
    # The data may be older than the password: after the state file was lost.
    if not auth.store.authenticate_user(USERNAME, password):
        auth.store.update_user(USERNAME, password=password)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    main(int(sys.argv[1]), os.environ.pop("THINKUBE_SERVICE_SECRET"))
