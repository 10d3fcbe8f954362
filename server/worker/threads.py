"""How many threads BLAS and OpenMP get: one until workers are forked, and then a worker's share."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

# Read by these libraries when they are loaded, which the model may do only later.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

# Which of them is for which library, by the names that `threadpoolctl` has for these.
_OF_LIBRARIES = {
    "openmp": "OMP_NUM_THREADS",
    "openblas": "OPENBLAS_NUM_THREADS",
    "mkl": "MKL_NUM_THREADS",
    "blis": "BLIS_NUM_THREADS",
}


def limit_threads(variables: Mapping[str, str], libraries: "ThreadpoolController") -> None:
    """Give libraries as many threads as these variables say. OpenMP keeps the number for each
    thread that starts its pools.

    Args:
        variables: All of `THREAD_VARIABLES`. What is no number, such as one for each level of
            nested pools, is left to libraries that are loaded later.
        libraries: Those that have been loaded; finding them takes as long as loading a model.
    """
    os.environ.update(variables)
    for library in libraries.lib_controllers:
        name = _OF_LIBRARIES.get(library.internal_api)
        if name is not None and variables[name].isdecimal() and int(variables[name]) > 0:
            library.set_num_threads(int(variables[name]))
