"""From a `Request` to the model's answer."""

import copy
import functools
import inspect
import itertools
import os
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.utils import data_validation
from mlflow.types import type_hints as mlflows_type_hints

from ..coroutines import make_synchronous, settled
from . import type_hints
from .errors import BAD_REQUEST, InvalidInput, ModelError, describe, status_and_code
from .explaining import explain
from .inputs import InputBuilder
from .parsing import Request
from .signature import InputSignature

# Where the input of a model is validated whose signature comes from a type hint.
_VALIDATION = frozenset(
    {data_validation.pyfunc.__code__.co_filename, type_hints.validate.__code__.co_filename}
)
_TYPE_HINTS = mlflows_type_hints.model_validate.__code__.co_filename


class Predictor:
    """Calls a model as MLflow's scoring server does, and tells bad input from a failing model.

    Args:
        hide: A directory that no message may show.
    """

    def __init__(self, model: PyFuncModel, signature: InputSignature, hide: str | None) -> None:
        # MLflow's server does so too: it makes type hints accept dates and bytes written as JSON.
        os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
        make_synchronous(model._model_impl)
        if signature.from_type_hint:
            type_hints.quicken()
        self._signature = signature
        self._inputs = InputBuilder(signature)
        self._enforcing = _guarded(model, signature.from_type_hint, hide)
        self._trusting = _without_input_schema(self._enforcing)

    def predict(self, request: Request) -> Any:
        """Return what the model answers.

        Raises:
            InvalidInput: the input or the parameters don't fit the signature.
            ModelError: the model raised.
        """
        with self._telling_input(request):
            data, fits = self._inputs.build(request)
            model = self._trusting if fits else self._enforcing
            return model.predict(data, params=request.params)

    def stream(self, request: Request) -> Generator[Any, None, None]:
        """Yield the chunks of the model's answer, for one thread to take.

        Raises:
            InvalidInput, ModelError: as `predict`.
        """
        with self._telling_input(request):
            data, fits = self._inputs.build(request)
            model = self._trusting if fits else self._enforcing
            yield from model.predict_stream(data, params=request.params)

    @contextmanager
    def _telling_input(self, request: Request) -> Iterator[None]:
        """Have whatever is not the model's fault be that of its input."""
        try:
            yield
        except (InvalidInput, ModelError):
            raise
        except Exception as error:
            # Where MLflow calls it a fault of the server's, it is the input's all the same.
            status, code = status_and_code(error)
            code = code if status == 400 else BAD_REQUEST
            raise InvalidInput(self._reason(request, error), code=code) from error

    def _reason(self, request: Request, error: Exception) -> str:
        if os.environ.get("MLFLOW_DISABLE_SCHEMA_DETAILS", "").lower() in ("true", "1"):
            return describe(error)
        message = explain(request, self._signature) or describe(error)
        if message.startswith("Failed to enforce schema of data") and error.__context__:
            # It goes on to repeat the whole input; what it was raised for says why.
            return describe(error.__context__)
        return message


def _guarded(model: PyFuncModel, from_type_hint: bool, hide: str | None) -> PyFuncModel:
    """Return a copy of the model that raises `ModelError` where the model itself raised."""
    predict, predict_stream = model._predict_fn, model._predict_stream_fn

    @functools.wraps(predict)
    def guard(*args: Any, **kwargs: Any) -> Any:
        try:
            return settled(predict(*args, **kwargs))
        except BaseException as error:
            # `SystemExit`, or the panic of a library written in Rust, is no `Exception`.
            if from_type_hint and _validates(error):
                raise
            raise ModelError(error, hide) from error

    def guard_stream(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        try:
            yield from settled(predict_stream(*args, **kwargs))
        except GeneratorExit:
            raise
        except BaseException as error:
            if from_type_hint and _validates(error):
                raise
            raise ModelError(error, hide) from error

    guarded = copy.copy(model)
    guarded._predict_fn = _with_signature_of(predict, guard)
    if predict_stream is not None:
        guarded._predict_stream_fn = _with_signature_of(predict_stream, guard_stream)
    return guarded


def _with_signature_of(function: Callable[..., Any], guard: Callable[..., Any]) -> Any:
    # MLflow looks at the signature at every call, and finds it sooner here.
    guard.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return guard


def _validates(error: BaseException) -> bool:
    """Tell whether an exception of a model with a type hint comes from MLflow's validation of the
    input.

    That happens in a function around the model's own (mlflow/pyfunc/utils/data_validation.py,
    `_wrap_predict_with_pyfunc`). What the model raises may be an `MlflowException`, too; its
    traceback goes on into the model's function.
    """
    if not isinstance(error, MlflowException):
        return False
    files = (frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__))
    inside = itertools.dropwhile(lambda file: file not in _VALIDATION, files)
    beyond = next(itertools.dropwhile(lambda file: file in _VALIDATION, inside), None)
    return beyond in (None, _TYPE_HINTS)


def _without_input_schema(model: PyFuncModel) -> PyFuncModel:
    """Return a copy of the model that takes its input as it is.

    It does all else that `PyFuncModel.predict` does: the prediction context, the parameters, and
    the choice of what to call and how.
    """
    metadata = copy.copy(model.metadata)
    if metadata.signature is not None:
        signature = copy.copy(metadata.signature)
        signature.inputs = None
        metadata.signature = signature
    trusting = copy.copy(model)
    trusting._model_meta = metadata
    return trusting
