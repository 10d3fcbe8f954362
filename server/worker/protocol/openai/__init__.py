"""OpenAI's chat completions and responses, for models that speak them in MLflow's words.

The shapes are those of OpenAI's API reference, as the package `openai` reads them (its `types`);
MLflow's are in mlflow/types/llm.py, agent.py and responses.py.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ...codecs import OPENAI_CHAT, OPENAI_RESPONSES
from ..errors import EncodingError, describe
from ..parsing import Request
from . import chat, responses
from .requests import read_chat, read_responses

# What comes of a model that answers in another shape.
_MISFITS = (LookupError, TypeError, AttributeError, ValueError)


class Codec(NamedTuple):
    """How requests of one format are read, and their answers written.

    Attributes:
        read: Makes a request of a body and of what the model speaks; raises `InvalidInput`.
        answer: Makes OpenAI's object of the model's answer.
        stream: Makes OpenAI's chunks of the model's.
    """

    read: Callable[[bytes, str | None], Request]
    answer: Callable[[Request, Any], dict[str, Any]]
    stream: Callable[[Request, Iterator[Any]], Iterator[dict[str, Any]]]


CODECS: Mapping[str, Codec] = {
    OPENAI_CHAT.decode(): Codec(read_chat, chat.answer, chat.stream),
    OPENAI_RESPONSES.decode(): Codec(read_responses, responses.answer, responses.stream),
}
"""By what stands in place of the content type, which is the format of their requests as well."""


def answer(request: Request, predictions: Any) -> Any:
    """Return the model's answer as the request's format has it.

    Raises:
        EncodingError: it can't be that.
    """
    if (codec := CODECS.get(request.format)) is None:
        return predictions
    try:
        return codec.answer(request, predictions)
    except _MISFITS as error:
        raise _misfit(error) from error


def stream(request: Request, chunks: Iterator[Any]) -> Iterator[Any]:
    """Yield the chunks of the model's answer as the request's format has them.

    Raises:
        EncodingError: they can't be that.
    """
    if (codec := CODECS.get(request.format)) is None:
        yield from chunks
        return
    try:
        yield from codec.stream(request, chunks)
    except _MISFITS as error:
        raise _misfit(error) from error


def _misfit(error: Exception) -> EncodingError:
    return EncodingError(f"model's answer is none that OpenAI has: {describe(error)}")
