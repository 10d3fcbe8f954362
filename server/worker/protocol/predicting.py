"""From a `Request` to the model's answer."""

import copy
import functools
import inspect
import os
from typing import Any

from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.scoring_server import infer_and_parse_data

from server.worker.protocol.dataframes import FrameBuilder
from server.worker.protocol.errors import InvalidInput, ModelError, describe
from server.worker.protocol.explaining import explain
from server.worker.protocol.parsing import FORMATS, INPUTS, INSTANCES, SPLIT, Request
from server.worker.protocol.signature import InputSignature

# An array of text made of a body this small takes some tens of megabytes at most.
_SMALL_BODY = 10_000
_MOST_ARRAY_BYTES = 1 << 30
_BYTES_PER_CHARACTER = 4


class Predictor:
    """Calls a model as MLflow's scoring server does, and tells bad input from a failing model."""

    def __init__(self, model: PyFuncModel, signature: InputSignature) -> None:
        # MLflow's server does so too: it makes type hints accept dates and bytes written as JSON.
        os.environ[_MLFLOW_IS_IN_SERVING_ENVIRONMENT.name] = "true"
        self._signature = signature
        self._model = _guarded(model, signature.from_type_hint)
        self._unenforced = _without_input_schema(self._model)
        self._frames = (
            FrameBuilder(signature.schema)
            if signature.schema is not None and signature.scalar_columns
            else None
        )

    def predict(self, request: Request) -> Any:
        """Return what the model answers.

        Raises:
            InvalidInput: the input or the parameters don't fit the signature.
            ModelError: the model raised.
        """
        try:
            frame = self._fitting_frame(request)
            if frame is not None:
                return self._unenforced.predict(frame, params=request.params)
            return self._model.predict(self._parsed(request), params=request.params)
        except (InvalidInput, ModelError):
            raise
        except Exception as error:
            reason = explain(request, self._signature) or describe(_cause(error))
            raise InvalidInput(reason) from error

    def _fitting_frame(self, request: Request) -> Any:
        if self._frames is None or request.layout is None:
            return None
        return self._frames.build(request.table, request.layout)

    def _parsed(self, request: Request) -> Any:
        if request.format not in FORMATS:
            return request.payload
        if self._signature.from_type_hint:
            # The model gets this very value. One that changes its input and then fails in a merged
            # request must not spoil it for the requests of which that was made.
            return request.payload if request.layout is None else copy.deepcopy(request.payload)
        if request.size > _SMALL_BODY and request.format in (INSTANCES, INPUTS):
            _refuse_huge_text_arrays(request.payload)
        schema: Any = self._signature.schema
        return infer_and_parse_data({request.format: request.payload}, schema)


def _refuse_huge_text_arrays(payload: Any) -> None:
    """Refuse what would take far more memory than it has bytes.

    MLflow makes numpy arrays of text, where every cell takes as much room as the longest.
    """
    arrays = payload.values() if isinstance(payload, dict) else [payload]
    for array in arrays:
        cells = longest = 0
        rest = [array]
        while rest:
            value = rest.pop()
            if isinstance(value, (list, dict)):
                rest.extend(value.values() if isinstance(value, dict) else value)
                continue
            cells += 1
            if isinstance(value, str):
                longest = max(longest, len(value))
        if cells * longest * _BYTES_PER_CHARACTER > _MOST_ARRAY_BYTES:
            raise InvalidInput(
                f"an array of {cells} texts, each with room for the longest of {longest} "
                f"characters, is too large: send fewer, or send them as '{SPLIT}'"
            )


def _guarded(model: PyFuncModel, from_type_hint: bool) -> PyFuncModel:
    """Return a copy of the model that raises `ModelError` where the model itself raised."""
    predict = model._predict_fn

    @functools.wraps(predict)
    def guard(*args: Any, **kwargs: Any) -> Any:
        try:
            return predict(*args, **kwargs)
        except Exception as error:
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

    It does all else that `PyFuncModel.predict` does: prediction context, parameters, the choice of
    what to call and how.
    """
    metadata = copy.copy(model.metadata)
    if metadata.signature is not None:
        signature = copy.copy(metadata.signature)
        signature.inputs = None
        metadata.signature = signature
    unenforced = copy.copy(model)
    unenforced._model_meta = metadata
    return unenforced


def _cause(error: Exception) -> BaseException:
    # MLflow's message for these repeats the whole input; what it was raised for says why.
    if getattr(error, "error_class", None) == "SCHEMA_ENFORCEMENT_FAILED" and error.__context__:
        return error.__context__
    return error
