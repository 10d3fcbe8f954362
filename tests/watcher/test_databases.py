"""A database that MLflow would first set up or migrate is left as it is."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from tests.support.registry import Registry
from tests.support.server import REPOSITORY
from watcher import databases
from watcher.model_uri import parse_model_uri
from watcher.registry import look_up
from watcher.versions import RegistryUnreachable, VersionMissing

FORMS = ["models:/demo/Production", "models:/demo@production", "models:/m-1", "runs:/1/model"]


@pytest.fixture
def copy(registry: Registry, tmp_path: Path) -> Path:
    """A database as MLflow has set it up."""
    path = tmp_path / "mlflow.db"
    shutil.copy(registry.uri.removeprefix("sqlite:///"), path)
    return path


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Has MLflow's client use these databases, none of which counts as ready from before."""
    before = mlflow.get_tracking_uri()
    monkeypatch.setattr(databases, "_ready", set())

    def use(tracking: str, registry: str = "") -> None:
        mlflow.set_tracking_uri(tracking)
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", registry)

    yield use
    mlflow.set_tracking_uri(before)


def change(path: Path, *statements: str) -> None:
    """Change a database."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def refusal(form: str = FORMS[0]) -> str:
    """Why no version is found."""
    with pytest.raises(RegistryUnreachable) as caught:
        look_up(parse_model_uri(form))
    return str(caught.value)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///{}/in/here/mlflow.db",
        "sqlite:///{}/mlflow.db",
        "sqlite+pysqlite:///{}/mlflow.db",
        "sqlite:///file:{}/mlflow.db?uri=true",
    ],
)
def test_a_database_that_is_not_there_is_not_made(
    use: Callable[..., None], tmp_path: Path, form: str, uri: str
) -> None:
    use(uri.format(tmp_path))
    assert refusal(form) == (
        "there is no database: set MLFLOW_TRACKING_URI, "
        'or run `mlflow db upgrade "$MLFLOW_TRACKING_URI"` to make it'
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("content", [[], ["CREATE TABLE alembic_version (version_num TEXT)"]])
def test_an_empty_database_stays_empty(
    use: Callable[..., None], tmp_path: Path, form: str, content: list[str]
) -> None:
    path = tmp_path / "mlflow.db"
    path.touch()
    change(path, *content)
    before = path.read_bytes()
    use(f"sqlite:///{path}")
    command = 'mlflow db upgrade "$MLFLOW_TRACKING_URI"'
    assert refusal(form) == (
        f"the database of MLFLOW_TRACKING_URI is empty: run `{command}` to set it up"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        # Of the one before the newest: not a table is missing.
        (["UPDATE alembic_version SET version_num = '75868b020152'"], "of an older MLflow"),
        # And of one that lacks one.
        (
            ["UPDATE alembic_version SET version_num = '451aebb31d03'", "DROP TABLE trace_info"],
            "of an older MLflow",
        ),
        (["UPDATE alembic_version SET version_num = 'future'"], "of a newer MLflow"),
        (["DELETE FROM alembic_version"], "lacks tables"),
        (["DROP TABLE alembic_version"], "lacks tables"),
        (["DROP TABLE webhooks"], "lacks tables"),
        (["CREATE TABLE another_s (a)", "DROP TABLE registered_models"], "lacks tables"),
    ],
)
def test_a_database_that_is_not_this_mlflow_s_is_left_as_it_is(
    use: Callable[..., None], copy: Path, form: str, statements: list[str], reason: str
) -> None:
    change(copy, *statements)
    before = copy.read_bytes()
    use(f"sqlite:///{copy}")
    assert reason in refusal(form)
    assert copy.read_bytes() == before


def test_a_database_is_used_once_it_has_been_set_up(
    use: Callable[..., None], tmp_path: Path, copy: Path
) -> None:
    later = tmp_path / "later.db"
    later.touch()
    use(f"sqlite:///{later}")
    assert "is empty" in refusal()
    shutil.copy(copy, later)
    with pytest.raises(VersionMissing):
        look_up(parse_model_uri("models:/demo/Production"))


def test_a_registry_in_another_database_is_looked_at_as_well(
    use: Callable[..., None], tmp_path: Path, copy: Path
) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()
    use(f"sqlite:///{copy}", registry=f"sqlite:///{empty}")
    assert "MLFLOW_REGISTRY_URI is empty" in refusal()
    # MLflow opens both, whichever it asks.
    use(f"sqlite:///{empty}", registry=f"sqlite:///{copy}")
    assert "MLFLOW_TRACKING_URI is empty" in refusal()
    assert empty.read_bytes() == b""


def test_a_registry_alone_may_be_of_another_mlflow_as_for_mlflow_itself(
    use: Callable[..., None], registry: Registry, copy: Path
) -> None:
    change(copy, "UPDATE alembic_version SET version_num = 'future'")
    use(registry.uri, registry=f"sqlite:///{copy}")
    with pytest.raises(VersionMissing):
        look_up(parse_model_uri("models:/demo/Production"))


@pytest.mark.parametrize(
    "statements", [["DELETE FROM alembic_version"], ["UPDATE alembic_version SET version_num = ''"]]
)
def test_where_the_database_is_is_not_told(
    use: Callable[..., None], copy: Path, statements: list[str]
) -> None:
    change(copy, *statements)
    use(f"sqlite:///{copy}")
    message = refusal()
    assert "MLFLOW_TRACKING_URI" in message
    assert str(copy.parent) not in message


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_empty(use: Callable[..., None], uri: str) -> None:
    use(uri)
    assert "is empty" in refusal()


LOOK_UP = """
import sys
from watcher.model_uri import parse_model_uri
from watcher.registry import look_up
from watcher.versions import RegistryError
try:
    look_up(parse_model_uri("models:/demo/Production"))
except RegistryError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("registry_alone", [False, True])
def test_no_database_is_made_in_the_working_directory(
    registry: Registry, tmp_path: Path, registry_alone: bool
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MLFLOW_TRACKING_URI": ""}
    if registry_alone:
        environment["MLFLOW_REGISTRY_URI"] = registry.uri
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOOK_UP],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = "VersionMissing" if registry_alone else "RegistryUnreachable there is no database"
    assert found.stdout.startswith(expected)
    assert list(tmp_path.iterdir()) == []
