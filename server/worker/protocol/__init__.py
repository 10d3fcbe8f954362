"""MLflow's scoring protocol for one loaded model.

`mlflow models serve` (mlflow/pyfunc/scoring_server/__init__.py, `invocations`) is what this has to
agree with. A body becomes a `Request` (`parsing`), several requests one (`merging`), a request the
model's input (`inputs`) and answer (`predicting`), and an answer JSON (`encoding`).
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

from mlflow.pyfunc import PyFuncModel

from ..codecs import FORMATS
from ..conversations import speaks
from ..coroutines import is_async
from . import openai
from .alike import alike
from .encoding import encode
from .errors import EncodingError, InvalidInput, ModelError, error_body
from .inputs import InputBuilder
from .kinds import AnswerKind, kind_of_answer
from .merging import merge, split
from .parsing import MergeKey, Request, parse
from .predicting import Predictor
from .signature import InputSignature

__all__ = [
    "FORMATS",
    "AnswerKind",
    "EncodingError",
    "InvalidInput",
    "MergeKey",
    "ModelError",
    "Protocol",
    "Request",
    "error_body",
    "kind_of_answer",
]


class Protocol:
    """Reads, merges, predicts, splits and writes for one model. Holds nothing of a request.

    Args:
        hide: A directory that nothing said to a client may show.

    Attributes:
        can_stream: Whether the model can answer in chunks.
        is_async: Whether it answers in a coroutine.
    """

    def __init__(self, model: PyFuncModel, hide: str | None = None) -> None:
        self.can_stream = model._predict_stream_fn is not None
        self.is_async = is_async(model._model_impl)
        self._speaks = speaks(model)
        self._signature = InputSignature.of(model)
        self._inputs = InputBuilder(self._signature)
        self._predictor = Predictor(model, self._signature, hide)

    def parse(self, content_type: str, body: bytes | memoryview) -> Request:
        """Return the request in a body.

        Args:
            content_type: The `Content-Type` header, empty if there is none; or a name of
                `server.worker.codecs`.
            body: The body as it came.

        Raises:
            InvalidInput: 415 for the content type, 400 for the body; 404 where it is for other
                models.
        """
        if (codec := openai.CODECS.get(content_type)) is not None:
            request = codec.read(bytes(body), self._speaks)
        else:
            request = parse(content_type, bytes(body), self._signature)
        if request.stream and not self.can_stream:
            if not self._signature.knows("stream"):
                raise InvalidInput("this model can't stream its answers: leave out 'stream'")
            request = request._replace(stream=False)
        return request

    def merge(self, requests: Sequence[Request]) -> Request:
        """Return one request with the rows of all, in order; their merge keys must be equal."""
        return merge(requests)

    def predict(self, request: Request) -> Any:
        """Return what the model answers to a request, merged or not.

        Raises:
            InvalidInput: the input or the parameters don't fit the signature.
            ModelError: the model raised.
        """
        return self._predictor.predict(request)

    def stream(self, request: Request) -> Generator[bytes, None, None]:
        """Yield the chunks of the model's answer, each as JSON, for one thread to take.

        Raises:
            InvalidInput, ModelError: as `predict`.
            EncodingError: a chunk holds something that has no form in JSON.
        """
        with closing(self._predictor.stream(request)) as chunks:
            for chunk in openai.stream(request, chunks):
                yield encode(chunk, wrap=False)

    def same_input(self, left: Request, right: Request) -> bool:
        """Tell whether the model gets the same input for two requests, merged or not, without
        parameters.

        Raises:
            InvalidInput, Misfit, MlflowException: one of them can't be converted.
        """
        (one, checked), (other, other_checked) = map(self._inputs.build, (left, right))
        return checked == other_checked and alike(one, other)

    def split(self, predictions: Any, rows: Sequence[int]) -> list[Any]:
        """Cut the answer to a merged request into pieces of `rows` rows each.

        `encode` writes each piece as it writes the answer that the request would get alone.

        Raises:
            ValueError: the answer has another number of rows, or none that can be told.
        """
        return split(predictions, rows)

    def encode(self, request: Request, predictions: Any) -> bytes:
        """Write the answer to a request, or its piece of a merged one, as JSON.

        Raises:
            EncodingError: the answer holds something that has no form in JSON, or none of
                OpenAI's for a request of theirs.
        """
        if request.format in openai.CODECS:
            return encode(openai.answer(request, predictions), wrap=False)
        return encode(predictions, wrap=request.format != "unified")
