"""Data of older versions: found again, and never touched by a version that can't read it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import thinkube as tk
from thinkube.errors import StackError
from thinkube.services import state
from thinkube.stack.down import down
from thinkube.stack.up import up

# MLflow 3.4's, of September 2025.
OLD_SCHEMA = "71994744cf8e"

WRITE = """
import sys, sqlalchemy
from alembic import command
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base
url = "sqlite:///" + sys.argv[1]
engine = sqlalchemy.create_engine(url)
Base.metadata.create_all(engine)
config = _get_alembic_config(url)
with engine.begin() as connection:
    config.attributes["connection"] = connection
    command.upgrade(config, sys.argv[2])
"""

ROWS = """
INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time,
    last_update_time) VALUES (7, 'old', 'mlflow-artifacts:/7', 'active', 1, 1);
INSERT INTO runs (run_uuid, name, user_id, source_type, status, start_time, end_time, lifecycle_stage,
    artifact_uri, experiment_id) VALUES ('0123456789abcdef0123456789abcdef', 'first', 'ada', 'LOCAL',
    'FINISHED', 1, 2, 'active', 'mlflow-artifacts:/7/0123456789abcdef0123456789abcdef/artifacts', 7);
INSERT INTO params (key, value, run_uuid) VALUES ('rate', '0.1', '0123456789abcdef0123456789abcdef');
INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
    VALUES ('loss', 1.5, 1, '0123456789abcdef0123456789abcdef', 0, 0);
INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan)
    VALUES ('loss', 1.5, 1, '0123456789abcdef0123456789abcdef', 0, 0);
INSERT INTO registered_models (name, creation_time, last_updated_time) VALUES ('agent', 1, 1);
INSERT INTO model_versions (name, version, creation_time, last_updated_time, source, run_id, status,
    current_stage) VALUES ('agent', 1, 1, 1, 'file:///bundle', '0123456789abcdef0123456789abcdef', 'READY',
    'None');
"""


def schema(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.fixture
def database(own_home: Path) -> Path:
    """The stack's database as MLflow 3.4 left it, with a run and a registered version."""
    assert not own_home.exists()
    file = state.directory() / "data" / "mlflow" / "mlflow.db"
    file.parent.mkdir(parents=True)
    subprocess.run(
        [sys.executable, "-c", WRITE, file, OLD_SCHEMA], check=True, capture_output=True, timeout=120
    )
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(ROWS)
    assert schema(file) == OLD_SCHEMA
    return file


def test_an_older_mlflows_data_is_kept(database: Path):
    database.with_name("upgrading.db").write_bytes(b"left by an upgrade that was killed")
    up(["mlflow"])
    mlflow = tk.mlflow()
    (run,) = mlflow.search_runs(["7"], output_format="list")
    assert (run.info.run_name, run.data.metrics, run.data.params) == ("first", {"loss": 1.5}, {"rate": "0.1"})
    assert mlflow.MlflowClient().get_model_version("agent", "1").run_id == run.info.run_id
    with mlflow.start_run(experiment_id="7"):
        mlflow.log_metric("loss", 0.5)
    now = schema(database)
    kept = database.with_name(f"mlflow.db.before-{OLD_SCHEMA}")
    assert (now != OLD_SCHEMA, schema(kept)) == (True, OLD_SCHEMA)
    down()
    up(["mlflow"])
    assert len(tk.mlflow().search_runs(["7"], output_format="list")) == 2
    assert schema(kept) == OLD_SCHEMA, "the second start had nothing to upgrade"


def test_a_newer_mlflows_data_is_refused_and_left_alone(database: Path):
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'fffffffffffe'")
        connection.commit()
    with pytest.raises(StackError, match="written by a newer MLflow"):
        up(["mlflow"])
    assert schema(database) == "fffffffffffe"
    assert not list(database.parent.glob("*.before-*"))
