"""Libraries that are told how many threads to use by calls, as no variable reaches them in time."""

import contextlib
import functools
import inspect
from collections.abc import Iterator
from types import FunctionType
from typing import Any, Protocol


class Library(Protocol):
    """A library that has been imported."""

    def limit(self, threads: int) -> None:
        """Have it use so many from now on, unless the model has told it a number itself."""


class _Counting:
    """A library with functions that tell how many threads it uses, and set it.

    Args:
        module: The library.
        number: The name of the one function.
        set_number: The name of the other.
    """

    def __init__(self, module: Any, number: str, set_number: str) -> None:
        self._number = getattr(module, number)
        self._set = getattr(module, set_number)
        self._models: int | None = None
        setattr(module, set_number, self._tell_by_model)

    def _tell_by_model(self, threads: int) -> Any:
        self._models = threads
        return self._set(threads)

    def limit(self, threads: int) -> None:
        # Some end their pool and begin another, also where that is as large.
        if self._models is None and self._number() != threads:
            self._set(threads)


class Torch(_Counting):
    """PyTorch ("CPU threading and TorchScript inference" in its notes).

    Args:
        module: `torch`.
        share: What its pool for operations beside each other gets. It can be told only once, and
            the pool is made when it is first used.
    """

    def __init__(self, module: Any, share: int) -> None:
        super().__init__(module, "get_num_threads", "set_num_threads")
        with contextlib.suppress(RuntimeError):  # it has been told
            module.set_num_interop_threads(share)

    def limit(self, threads: int) -> None:
        # Whatever it says it has: that is OpenMP's number, while the MKL within it, which nothing
        # else can tell, may have another. Both are the calling thread's, the model's as well.
        self._set(threads if self._models is None else self._models)


class Arrow(_Counting):
    """Arrow, which finds its number in OMP_NUM_THREADS by itself when it is imported
    (`pyarrow.cpu_count`).

    Args:
        module: `pyarrow`.
    """

    def __init__(self, module: Any, _share: int) -> None:
        super().__init__(module, "cpu_count", "set_cpu_count")


class NumExpr(_Counting):
    """NumExpr, which pandas uses where it is installed.

    Args:
        module: `numexpr`.
    """

    def __init__(self, module: Any, _share: int) -> None:
        super().__init__(module, "get_num_threads", "set_num_threads")


class OnnxRuntime:
    """ONNX Runtime ("Thread management" in its documentation): a session makes its pools when it
    is made itself, and knows no variables.

    Args:
        module: `onnxruntime`.
        share: What each of a session's pools gets, where its options say nothing.
    """

    def __init__(self, module: Any, share: int) -> None:
        self._module = module
        self._share = share
        make = module.InferenceSession.__init__
        parameters = inspect.signature(make)

        @functools.wraps(make)
        def make_limited(*given: Any, **named: Any) -> None:
            call = parameters.bind(*given, **named)
            call.arguments["sess_options"] = self._limited(call.arguments.get("sess_options"))
            make(*call.args, **call.kwargs)

        module.InferenceSession.__init__ = make_limited

    def _limited(self, options: Any) -> Any:
        """These options with what they leave open."""
        options = self._module.SessionOptions() if options is None else options
        for pool in ("intra_op", "inter_op"):
            if getattr(options, f"{pool}_num_threads") == 0:
                setattr(options, f"{pool}_num_threads", self._share)
            _set_default(options, f"session.{pool}.allow_spinning", "0")
        return options

    def limit(self, threads: int) -> None:
        """What is made keeps its pools."""


def _set_default(options: Any, key: str, value: str) -> None:
    try:
        options.get_session_config_entry(key)
    except RuntimeError:  # it has none
        options.add_session_config_entry(key, value)


class CatBoost:
    """CatBoost: the parameter `thread_count` of its methods, -1 unless the caller says something,
    which stands for all cores.

    Args:
        module: `catboost`.
    """

    def __init__(self, module: Any, _share: int) -> None:
        self._defaults = list(_thread_counts(module))

    def limit(self, threads: int) -> None:
        for method, place in self._defaults:
            defaults = list(method.__defaults__ or ())
            defaults[place] = threads
            method.__defaults__ = tuple(defaults)


def _thread_counts(module: Any) -> Iterator[tuple[FunctionType, int]]:
    """Each method that has the parameter, and its place among the defaults."""
    for kind in filter(inspect.isclass, vars(module).values()):
        for method in filter(inspect.isfunction, vars(kind).values()):
            parameters = inspect.signature(method).parameters.values()
            defaults = [each for each in parameters if each.default is not each.empty]
            for place, parameter in enumerate(defaults):
                if parameter.name == "thread_count" and parameter.default == -1:
                    yield method, place
