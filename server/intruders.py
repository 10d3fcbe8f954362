"""Other programs' modules that Python would import in place of this program's.

`python -m` looks for modules in the working directory first, and so does the environment
process. A project's folder may well have a `watcher` or a `server`.
"""

import sys
import traceback
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

_HOME = Path(__file__).resolve().parents[1]
# What the other processes import, where nobody sees the error. All are packages.
_THEIRS = ("mlflow", "numpy", "pandas", "pyarrow", "requests", "sqlalchemy")
_ADVICE = "start it as `mlflow-live-server`, or in another folder"


def find_intruder() -> str | None:
    """What is found in place of a package that is needed, or None if nothing is."""
    for name in ("server", "watcher"):
        ours, found = _HOME / name, _location(_find(name))
        if found is None or Path(found).resolve() != ours:
            return f"{found or 'nothing'} is found in place of {ours}: {_ADVICE}"
    for name in _THEIRS:
        spec = _find(name)
        if spec is not None and spec.submodule_search_locations is None:
            return f"{spec.origin} is found in place of the package {name!r}: {_ADVICE}"
    return None


def describe_failed_import(error: Exception) -> str | None:
    """Why this program could not be imported, if it may be for modules in the working directory."""
    modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    # A module that raised is none.
    raised = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if intruders := sorted({path for path in [*modules, *raised] if path and _is_here(Path(path))}):
        return f"{error}; imported from here: {', '.join(intruders)}: {_ADVICE}"
    return None


def _find(name: str) -> ModuleSpec | None:
    """What a new process of this kind would import by this name."""
    here = None if sys.flags.safe_path else PathFinder.find_spec(name, [str(Path.cwd())])
    return here if here is not None and here.origin else find_spec(name)


def _location(spec: ModuleSpec | None) -> str | None:
    """A package's directory, or a module's file."""
    if spec is None:
        return None
    return next(iter(spec.submodule_search_locations or ()), spec.origin)


def _is_here(path: Path) -> bool:
    """Whether it is a module in the working directory, or a package's first, and not ours."""
    here = Path.cwd()
    return here in (path.parent, path.parent.parent) and _HOME not in path.parents
