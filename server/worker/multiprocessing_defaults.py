"""Having `multiprocessing` as a model finds it under `mlflow models serve`."""

import multiprocessing
from multiprocessing import process
from typing import Any


def restore_defaults() -> None:
    """Make this process look as if nobody had started it by `multiprocessing`.

    It would hand on the fork server's start method, which takes neither lambdas nor what a model's
    code defines. Code that asks whether it runs in the main process would be told that it does not,
    and a pool's processes, whose numbers begin with their parent's, could not be told apart by the
    first of them, as is done to choose a GPU.
    """
    # To none, not to the default: the model may still set one.
    multiprocessing.set_start_method(None, force=True)
    process._parent_process = None  # type: ignore[attr-defined]
    this: Any = multiprocessing.current_process()
    this.name = "MainProcess"
    this._identity = ()
