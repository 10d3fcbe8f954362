"""This package under a name of its own, for processes in which a model's code runs.

A model may bring modules called `server` or `watcher` (MLflow's `code_paths`), and has to get its
own: ours must not be found under these names. So the package's imports of itself are relative.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

NAME = "_model_server_worker"

_GATEWAYS_NAMES = ("server", "watcher")


def import_privately(module: str) -> Any:
    """Import a module of this package under its private name, once per process."""
    if NAME not in sys.modules:
        directory = Path(__file__).parent
        spec = importlib.util.spec_from_file_location(
            NAME, directory / "__init__.py", submodule_search_locations=[str(directory)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[NAME] = package = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
    return importlib.import_module(f"{NAME}.{module}")


def forget_the_gateways_names() -> None:
    """Leave the names that the gateway has for its packages to the model."""
    for name in [name for name in sys.modules if name.partition(".")[0] in _GATEWAYS_NAMES]:
        del sys.modules[name]
