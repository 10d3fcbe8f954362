"""Limiting the threads of a process that loads a model, and of what is forked from it."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from threadpoolctl import ThreadpoolController

from . import CORE_VARIABLES, POOL_VARIABLES, first_number
from .imports import when_imported
from .libraries import Arrow, CatBoost, Library, NumExpr, OnnxRuntime, Torch

# By the names that `threadpoolctl` has for them.
_POOLS = {
    "openmp": "OMP_NUM_THREADS",
    "openblas": "OPENBLAS_NUM_THREADS",
    "mkl": "MKL_NUM_THREADS",
    "blis": "BLIS_NUM_THREADS",
}
_LIBRARIES: dict[str, tuple[str, Callable[[Any, int], Library]]] = {
    "catboost": ("OMP_NUM_THREADS", CatBoost),
    "numexpr": ("NUMEXPR_NUM_THREADS", NumExpr),
    "onnxruntime": ("OMP_NUM_THREADS", OnnxRuntime),
    "pyarrow": ("OMP_NUM_THREADS", Arrow),
    # As it does by itself, where it has MKL within it.
    "torch": ("MKL_NUM_THREADS", Torch),
}

_log = logging.getLogger(__name__)


class Threads:
    """What limits them.

    Args:
        variables: All that `server.worker.threads` names, as they are to be in a worker. A library
            whose variable is no number is left as it is.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._pools: ThreadpoolController | None = None
        self._libraries: dict[str, Library] = {}
        self._limited = False

    def prepare(self) -> None:
        """Before a model is loaded: give what can't be told again its share, also where that is
        imported later, and what can be told again one thread."""
        pools = {name: said for name, said in self._variables.items() if name in POOL_VARIABLES}
        os.environ.update(pools)
        os.environ.update(dict.fromkeys(CORE_VARIABLES, "1"))
        when_imported({name: partial(self._take, name) for name in _LIBRARIES})

    def find(self) -> None:
        """Find the pools of what has been loaded; takes as long as loading a model."""
        self._pools = ThreadpoolController()

    def limit(self) -> None:
        """Give all their share: what is loaded, as far as `find` and `prepare` know it, and what
        will be. To be called in each thread that predicts, as OpenMP keeps a number for each."""
        self._limited = True
        os.environ.update(self._variables)
        for pool in self._pools.lib_controllers if self._pools is not None else ():
            if (share := self._share(_POOLS.get(pool.internal_api))) is not None:
                pool.set_num_threads(share)
        for name in [*self._libraries]:
            self._limit(name)

    def _share(self, variable: str | None) -> int | None:
        return first_number(self._variables[variable]) if variable is not None else None

    def _take(self, name: str, module: Any) -> None:
        """Take hold of a library that has been imported."""
        variable, library = _LIBRARIES[name]
        if (share := self._share(variable)) is not None:
            with _warning_of(name):
                self._libraries[name] = library(module, share)
                self._limit(name)

    def _limit(self, name: str) -> None:
        share = self._share(_LIBRARIES[name][0]) if self._limited else 1
        if share is not None:
            with _warning_of(name):
                self._libraries[name].limit(share)


@contextlib.contextmanager
def _warning_of(name: str) -> Iterator[None]:
    """A library of another version, or the model's own of the same name, is left as it is."""
    try:
        yield
    except Exception as error:
        _log.warning("can't limit the threads of %s: %s", name, error)
