"""The input example that a model brings, and whether the model answers it."""

import time
import traceback
from dataclasses import dataclass

from mlflow.models.utils import convert_input_example_to_serving_input
from mlflow.pyfunc import PyFuncModel

from ..blocking import Judge
from ..protocol import EncodingError, InvalidInput, ModelError, Protocol
from ..protocol.errors import describe, named


@dataclass(frozen=True, slots=True)
class ExampleFailed:
    """Why an example is of no use: it can't be read, or the model does not answer it.

    Attributes:
        error: In words for the log and `/info`.
        cause: What was raised.
    """

    error: str
    cause: BaseException

    def to_json(self) -> dict[str, str]:
        """As values that JSON holds, with the traceback."""
        return {"error": self.error, "exception": "".join(traceback.format_exception(self.cause))}


@dataclass(frozen=True, slots=True)
class Example:
    """A model's input example, and what came of it.

    Attributes:
        body: The body of a request; None where there is none, or none that can be read.
        answer: What the model answered; None if it was not asked, or did not.
        seconds: What that took.
        failed: Why it is of no use, if it is not.
    """

    body: str | None
    answer: bytes | None = None
    seconds: float = 0.0
    failed: ExampleFailed | None = None

    @property
    def answered(self) -> bool:
        """Whether the model was asked, and answered."""
        return self.answer is not None

    @property
    def usable(self) -> str | None:
        """The body, unless the model is known to fail on it."""
        return self.body if self.failed is None else None


def try_example(
    protocol: Protocol, model: PyFuncModel, path: str, judge: Judge, *, ask: bool, hide: str
) -> Example:
    """Read the model's input example, and have the model answer it.

    MLflow itself only warns of one that does not work, when the model is logged.

    Args:
        path: Where the model lies.
        judge: Sees how the model answers.
        ask: Whether to have it answered.
        hide: A directory that the words about what failed must not show.
    """
    body = None
    try:
        body = serving_example(model, path)
        if body is None or not ask:
            return Example(body)
        request = protocol.parse("application/json", body.encode())
        started = time.monotonic()
        with judge.measuring():
            predictions = protocol.predict(request)
        answer = protocol.encode(request, predictions)
    except BaseException as error:  # the model's answer may raise anything as it is read
        cause = (isinstance(error, ModelError) and error.__cause__) or error
        told = isinstance(error, InvalidInput | EncodingError)
        why = describe(error, hide) if told else named(cause, hide)
        return Example(body, failed=ExampleFailed(why, cause))
    return Example(body, answer, time.monotonic() - started)


def serving_example(model: PyFuncModel, path: str) -> str | None:
    """Return the model's input example as the body of a request, if it has one.

    Args:
        path: Where the model lies.

    Raises:
        Exception: it can't be read.
    """
    example: str | None = model.metadata.get_serving_input(path)
    if example is None and model.input_example is not None:
        # Logged by an MLflow older than 2.16, which kept no example of a request.
        example = convert_input_example_to_serving_input(model.input_example)
    return example
