"""What an environment process imports ahead, so that every process forked from it finds it done.

Nothing here may start a thread: a process with several can't be forked safely.
"""

import gc
import importlib
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from mlflow.tracking._model_registry import utils as registry_utils
from mlflow.utils import requirements_utils

from . import download, flavors, main

# What MLflow's client imports when it first talks to a registry and an artifact store.
_OVER_HTTP = (
    "mlflow.store.artifact.mlflow_artifacts_repo",
    "mlflow.store.model_registry.rest_store",
    "mlflow.store.tracking.rest_store",
)
_IN_A_DATABASE = (
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
)


def preload(modules: Iterable[str]) -> None:
    """Import what is needed to fetch and load models, and these modules that models may need."""
    for name in [*_client(), *modules]:
        for part in (*flavors.SKLEARN, flavors.SKOPS) if name == "sklearn" else (name,):
            _import(part)
    _initialise()
    keep()


def keep() -> None:
    """Have what is imported stay: without this, the first collection in each process that is forked
    from this one would touch, and so copy, every page that they share."""
    gc.collect()
    gc.freeze()


def _client() -> Iterable[str]:
    registry = os.environ.get("MLFLOW_REGISTRY_URI") or os.environ.get("MLFLOW_TRACKING_URI")
    if not registry:
        # MLflow's default, as far as it is there.
        registry = "sqlite" if Path("mlflow.db").exists() else ""
    if registry.startswith("http"):
        yield from _OVER_HTTP
    elif registry.startswith(("sqlite", "postgresql", "mysql", "mssql")):
        yield from _IN_A_DATABASE


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:
        logging.getLogger(__name__).warning("can't preload %s: %s", name, error)


def _initialise() -> None:
    """Do once what is done lazily at the first use."""
    if "sqlalchemy.orm" in sys.modules:
        # Else each worker would, at the first look-up.
        sys.modules["sqlalchemy.orm"].configure_mappers()
    try:
        # Looks through all that is installed for plugins.
        registry_utils._get_store_registry()  # type: ignore[no-untyped-call]
    except Exception as error:
        logging.getLogger(__name__).warning("can't load MLflow's plugins: %s", error)
    # MLflow compares a model's requirements with what is installed; the list takes it a second.
    requirements_utils._init_packages_to_modules_map()  # type: ignore[no-untyped-call]
    # The first frame made initialises much lazily.
    pd.DataFrame({"a": ["b"]}).to_dict(orient="records")


__all__ = ["download", "main", "preload"]
