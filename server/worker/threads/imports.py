"""Telling a library something as soon as it is imported, be it now, later or never."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def when_imported(tasks: Mapping[str, Callable[[Any], None]]) -> None:
    """Call these with the modules of these names: those that are there at once, and the others in
    the thread that imports them, before that sees them. They must raise nothing."""
    for name, task in tasks.items():
        if name in sys.modules:
            task(sys.modules[name])
    sys.meta_path.insert(0, _Finder(tasks))


class _Finder(MetaPathFinder):
    """Finds what the others find."""

    def __init__(self, tasks: Mapping[str, Callable[[Any], None]]) -> None:
        self._tasks = tasks

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if (task := self._tasks.get(fullname)) is None:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        if (spec := next(filter(None, specs), None)) is None or spec.loader is None:
            return spec
        # On the loader itself: whoever asks for the module's files or source gets them from it. It
        # may be that of other modules as well.
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if module.__name__ == fullname:
                task(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
