"""Models for the protocol's tests, which MLflow loads through `_load_pyfunc`."""

import base64
import enum
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import mlflow
import pandas as pd
import pydantic
from mlflow.protos.databricks_pb2 import ErrorCode
from mlflow.pyfunc.context import get_prediction_context
from mlflow.types.type_hints import TypeFromExample

from tests.worker.protocol.describing import description


class Echo:
    """Answers with the very input that it gets."""

    def predict(self, model_input: Any) -> Any:
        return model_input


class EchoOrRaise:
    """Answers with its input, or raises an `MlflowException` of the code under `raise`."""

    def predict(self, model_input: Any) -> Any:
        if isinstance(model_input, dict) and "raise" in model_input:
            code = model_input["raise"]
            raise mlflow.MlflowException("as told", error_code=ErrorCode.Value(code))
        return model_input


class Describes:
    """Answers with the description of its input, which says more of it than JSON could hold."""

    def predict(self, model_input: Any) -> Any:
        return description(model_input)


class NamesItsInput:
    """Answers with the description of its input, and then changes the name of the columns."""

    def predict(self, model_input: Any) -> Any:
        before = description(model_input)
        model_input.columns.name = "mine"
        return before


class Runs:
    """Answers with what a function returns, which comes as `pickled` makes it."""

    def predict(self, model_input: Any) -> Any:
        return cloudpickle.loads(base64.b64decode(model_input["function"][0]))()


def pickled(make: Callable[[], Any]) -> str:
    """Return what to send to `Runs` for it to answer with what `make` returns."""
    return base64.b64encode(cloudpickle.dumps(make)).decode()


class EchoParams:
    """Answers with the parameters that it gets."""

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        return params


class DescribesParams:
    """Answers with the description of the parameters that it gets."""

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        return description(params)


class Context:
    """Answers whether MLflow's prediction context is set."""

    def predict(self, model_input: Any) -> Any:
        return get_prediction_context() is not None


class Complaint(Exception):
    """What a model raises."""


class Unprintable(Exception):
    """What a model raises that can't even be told."""

    def __str__(self) -> str:
        raise Complaint


class Panic(BaseException):
    """What a library written in Rust raises when it panics."""


class Complains:
    """Raises, with an exception of its own or one that is no `Exception`."""

    def predict(self, model_input: Any) -> Any:
        word = model_input["text"][0]
        if word == "unprintable":
            raise Unprintable
        if word == "panic":
            raise Panic("index out of bounds")
        if word.startswith("exit"):
            sys.exit(*word.split()[1:])
        raise Complaint(word)


class Score(pydantic.BaseModel):
    """An answer that is an object."""

    label: str
    score: float


class Label(enum.Enum):
    """An answer that is a constant."""

    SPAM = "spam"


class Broken:
    """An answer that looks like an array, and breaks when it is read."""

    def tolist(self) -> Any:
        raise RuntimeError("broken")


class Number(float):
    """An answer that is a float, and more."""


class Word(pydantic.BaseModel):
    """A row for `Words`."""

    text: str
    count: int | None = None


class Texts(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Its signature comes from its type hint: a list of strings."""

    def predict(self, model_input: list[str]) -> list[str]:
        return [text.upper() for text in model_input]


class RunsTexts(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Answers each row with what a function returns, as `Runs` does; with a type hint."""

    def predict(self, model_input: list[str]) -> list[str]:
        return [cloudpickle.loads(base64.b64decode(text))() for text in model_input]


class Words(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Its signature comes from its type hint: a list of objects."""

    def predict(self, model_input: list[Word]) -> list[str]:
        return [word.text * (word.count or 1) for word in model_input]


class FromExample(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Its signature and the form of its input come from an example; it describes its input."""

    def predict(self, model_input: TypeFromExample) -> Any:
        return description(model_input)


class Spoils(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Changes its input and then raises, if it gets more than one row.

    MLflow hands a union on as it is, where it makes a new dictionary otherwise.
    """

    def predict(self, model_input: list[dict[str, str] | str]) -> list[str]:
        texts = [row if isinstance(row, str) else row.pop("text") for row in model_input]
        if len(texts) > 1:
            raise Complaint("too many")
        return texts


class Frames(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """A Python model with a context, parameters and a frame for input."""

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[str]:
        times = (params or {}).get("times", 1)
        return [text * times for text in model_input["text"]]


def _load_pyfunc(path: str) -> Any:
    return globals()[Path(path).read_text()]()
