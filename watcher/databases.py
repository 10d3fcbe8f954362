"""Keeping away from a database that MLflow's client would first set up or migrate.

The client does so at its first contact (`SqlAlchemyStore.__init__` in mlflow/store/tracking and in
mlflow/store/model_registry), in many steps. A process that is ended between two of them leaves a
database that MLflow itself can't open any more, and the look-up process is ended whenever it takes
too long. So a database has to be ready before MLflow's client hears of it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow

from watcher.versions import RegistryUnreachable

if TYPE_CHECKING:
    from sqlalchemy import Engine

# As in mlflow.store.db.db_types. Drivers may be named as well: `postgresql+psycopg2://`.
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")

_REPAIR = "restore a backup, or make the database anew"

_ready: set[tuple[str, bool]] = set()


def expect_ready(uri: str, variable: str, *, same_revision: bool) -> None:
    """Refuse a database that MLflow would set up or migrate first, or not open at all.

    Args:
        uri: Of a tracking store or registry. What is no database passes, and so does what was
            ready before.
        variable: Which is set to it. The message names that: the URI itself may hold credentials,
            and clients get to read why nothing serves.
        same_revision: Whether it must be of this MLflow's revision: MLflow's tracking store opens
            no other, its registry store any that has all tables.

    Raises:
        RegistryUnreachable: it is not ready; the message says what to do.
    """
    if not uri.lower().startswith(_DATABASES) or (uri, same_revision) in _ready:
        return
    if is_missing_file(uri):
        # Before anything connects: SQLite makes a file of it.
        raise RegistryUnreachable(
            f"there is no database: set {variable}, or {_upgrade(variable)} to make it"
        )
    # Here, as it takes a second and registries over HTTP do without.
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine(uri)  # type: ignore[no-untyped-call]
    try:
        if problem := _problem(utils, engine, variable, same_revision):
            raise RegistryUnreachable(problem)
    finally:
        engine.dispose()
    _ready.add((uri, same_revision))


def is_missing_file(uri: str) -> bool:
    """Whether it names an SQLite database in a file that is not there."""
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    if url.get_backend_name() != "sqlite" or url.query.get("mode") == "memory":
        return False
    # SQLite's own URIs: https://www.sqlite.org/uri.html
    path = (url.database or "").removeprefix("file:")
    return path not in ("", ":memory:") and not Path(path).exists()


def _upgrade(variable: str) -> str:
    return f'run `mlflow db upgrade "${variable}"`'


def _problem(utils: Any, engine: "Engine", variable: str, same_revision: bool) -> str | None:
    upgrade = _upgrade(variable)
    if utils._is_empty_database(engine):
        return f"the database of {variable} is empty: {upgrade} to set it up"
    has_all_tables = utils._all_tables_exist(engine)
    if has_all_tables and not same_revision:
        return None
    revision = utils._get_schema_version(engine)
    newest, *older = _revisions(utils)
    if revision == newest and has_all_tables:
        return None
    if revision in older:
        return (
            f"the database of {variable} is of an older MLflow: take a backup, and {upgrade} to "
            f"migrate it (if a table exists already, that was broken off before: {_REPAIR})"
        )
    if revision in (None, newest):
        return (
            f"the database of {variable} lacks tables: it is being set up, or that was broken off: "
            f"{_REPAIR}"
        )
    return (
        f"the database of {variable} is of a newer MLflow than {mlflow.__version__}, which is "
        "installed here: install that one"
    )


def _revisions(utils: Any) -> list[str]:
    """What the databases of this MLflow and of those before it are like, the newest first."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(utils._get_alembic_config(db_url=""))
    return [script.revision for script in scripts.walk_revisions()]
