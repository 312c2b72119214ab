"""A database of an older MLflow, brought to what the installed one reads, with nothing to lose on the way.

MLflow's migrations are not transactions, so they run on a copy. The copy takes the database's place when it
is done; the old one stays beside it until the next upgrade.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def upgrade(database: Path) -> None:
    """Upgrade an SQLite database in place, if it needs that.

    Raises:
        SystemExit: a newer MLflow wrote it.
    """
    import mlflow
    from mlflow.store.db import utils

    schemas: Any = utils
    before = _revision(database) if database.exists() else None
    if before is None or before == schemas._get_latest_schema_revision():
        return
    if not _known(before):
        raise SystemExit(
            f"{database} was written by a newer MLflow than {mlflow.__version__} (schema {before}).\n"
            "Install the MLflow it was written with, or move the file away to begin anew."
        )
    print(f"[thinkube] upgrading {database} from schema {before} for MLflow {mlflow.__version__}", flush=True)
    _fold_journal(database)
    part, kept = database.with_name("upgrading.db"), database.with_name(f"{database.name}.before-{before}")
    shutil.copyfile(database, part)
    _migrate(part)
    for old in database.parent.glob(f"{database.name}.before-*"):
        old.unlink()
    os.link(database, kept)
    part.replace(database)
    print(f"[thinkube] upgraded; the database as it was is {kept}", flush=True)


def _revision(database: Path) -> str | None:
    with closing(sqlite3.connect(database)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None  # no table yet: the server makes them all
    return str(row[0]) if row else None


def _known(revision: str) -> bool:
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError
    from mlflow.store.db import utils

    schemas: Any = utils
    try:
        script = ScriptDirectory.from_config(schemas._get_alembic_config(db_url=""))
        return script.get_revision(revision) is not None
    except CommandError:
        return False


def _migrate(database: Path) -> None:
    import sqlalchemy
    from mlflow.store.db import utils

    schemas: Any = utils
    engine = sqlalchemy.create_engine(f"sqlite:///{database}")
    schemas._upgrade_db(engine)
    engine.dispose()
    _fold_journal(database)


def _fold_journal(database: Path) -> None:
    """Bring what a write-ahead journal holds into the file itself, which then can be copied and renamed."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    with database.open("rb") as file:
        os.fsync(file.fileno())
