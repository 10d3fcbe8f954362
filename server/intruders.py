"""Other programs' modules that Python would import in place of this program's.

`python -m` looks for modules in the working directory first, and so does the fork server, where
imports that fail pass in silence. A project's folder may well have a `watcher` or a `server`.
"""

import sys
import traceback
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

_HOME = Path(__file__).resolve().parents[1]
_ADVICE = "start it as `mlflow-live-server`, or in another folder"


def find_intruder() -> str | None:
    """What is found in place of one of this program's packages, or None if nothing is."""
    for name in ("server", "watcher"):
        ours, found = _HOME / name, _find(name)
        if found is None or Path(found).resolve() != ours:
            return f"{found or 'nothing'} is found in place of {ours}: {_ADVICE}"
    return None


def describe_failed_import(error: Exception) -> str | None:
    """Why this program could not be imported, if it may be for modules in the working directory."""
    modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    # A module that raised is none.
    raised = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if intruders := sorted({path for path in [*modules, *raised] if path and _is_here(Path(path))}):
        return f"{error}; imported from here: {', '.join(intruders)}: {_ADVICE}"
    return None


def _find(name: str) -> str | None:
    """The directory or module that a new process of this kind would import by this name."""
    here = None if sys.flags.safe_path else PathFinder.find_spec(name, [str(Path.cwd())])
    spec = here if here is not None and here.origin else find_spec(name)
    return _location(spec) if spec is not None else None


def _location(spec: ModuleSpec) -> str | None:
    return next(iter(spec.submodule_search_locations or ()), spec.origin)


def _is_here(path: Path) -> bool:
    """Whether it is a module in the working directory, or a package's first, and not ours."""
    here = Path.cwd()
    return here in (path.parent, path.parent.parent) and _HOME not in path.parents
