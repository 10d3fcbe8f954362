"""This package under a name of its own, for processes in which a model's code runs.

A model may bring modules called `server` or `watcher` (MLflow's `code_paths`), and has to get its
own: ours must not be found under these names. So the package's imports of itself are relative.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "_model_server_worker"

_GATEWAYS_NAMES = ("server", "watcher")
# Where these packages are.
_HOME = Path(__file__).resolve().parents[2]


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


def gateways_modules() -> list[str]:
    """The modules of the gateway that this process has imported. To look for them touches, and so
    copies, much of the memory that a forked process shares: before it is forked."""
    return [name for name in sys.modules if name.partition(".")[0] in _GATEWAYS_NAMES]


def forget_the_gateways_names(modules: Iterable[str]) -> None:
    """Leave the names that the gateway has for its packages to the model.

    Args:
        modules: What `gateways_modules` has found.
    """
    for name in modules:
        del sys.modules[name]
    sys.meta_path.insert(0, _ModelsOwn())


class _ModelsOwn(MetaPathFinder):
    """Finds the model's own under the gateway's names, wherever on the path: a folder without
    `__init__.py` would else lose to our packages behind it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _GATEWAYS_NAMES:
            return None
        others = [entry for entry in sys.path if Path(entry).resolve() != _HOME]
        return PathFinder.find_spec(fullname, others, target)
