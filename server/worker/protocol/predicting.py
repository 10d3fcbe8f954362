"""From a `Request` to the model's answer."""

import copy
import functools
import inspect
import os
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel

from .errors import InvalidInput, ModelError, describe
from .explaining import explain
from .inputs import InputBuilder
from .parsing import Request
from .signature import InputSignature


class Predictor:
    """Calls a model as MLflow's scoring server does, and tells bad input from a failing model."""

    def __init__(self, model: PyFuncModel, signature: InputSignature) -> None:
        # MLflow's server does so too: it makes type hints accept dates and bytes written as JSON.
        os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
        self._signature = signature
        self._inputs = InputBuilder(signature)
        self._enforcing = _guarded(model, signature.from_type_hint)
        self._trusting = _without_input_schema(self._enforcing)

    def predict(self, request: Request) -> Any:
        """Return what the model answers.

        Raises:
            InvalidInput: the input or the parameters don't fit the signature.
            ModelError: the model raised.
        """
        try:
            data, fits = self._inputs.build(request)
            model = self._trusting if fits else self._enforcing
            return model.predict(data, params=request.params)
        except (InvalidInput, ModelError):
            raise
        except Exception as error:
            raise InvalidInput(self._reason(request, error)) from error

    def _reason(self, request: Request, error: Exception) -> str:
        if os.environ.get("MLFLOW_DISABLE_SCHEMA_DETAILS", "").lower() in ("true", "1"):
            return describe(error)
        message = explain(request, self._signature) or describe(error)
        if message.startswith("Failed to enforce schema of data") and error.__context__:
            # It goes on to repeat the whole input; what it was raised for says why.
            return describe(error.__context__)
        return message


def _guarded(model: PyFuncModel, from_type_hint: bool) -> PyFuncModel:
    """Return a copy of the model that raises `ModelError` where the model itself raised."""
    predict = model._predict_fn

    @functools.wraps(predict)
    def guard(*args: Any, **kwargs: Any) -> Any:
        try:
            return predict(*args, **kwargs)
        except BaseException as error:
            # `SystemExit`, or the panic of a library written in Rust, is no `Exception`.
            # With a signature from a type hint, it is in here that MLflow validates the input.
            if from_type_hint and isinstance(error, MlflowException):
                raise
            raise ModelError(error) from error

    # MLflow looks at the signature at every call, and finds it sooner here.
    guard.__signature__ = inspect.signature(predict)  # type: ignore[attr-defined]
    guarded = copy.copy(model)
    guarded._predict_fn = guard
    return guarded


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
