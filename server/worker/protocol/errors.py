"""What the protocol raises, and the body that tells a client about it."""

import orjson

_LONGEST_MESSAGE = 1000


class InvalidInput(Exception):
    """The request does not fit the protocol, or the model's signature.

    Attributes:
        message: What the client should change.
        status: The HTTP status to answer with: 400, or 415 for a content type that is not read.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        self.message = presentable(message)
        self.status = status
        super().__init__(self.message)


class ModelError(Exception):
    """The model raised. Its own exception is the `__cause__`.

    Attributes:
        message: The message of the model's exception.
    """

    def __init__(self, cause: BaseException) -> None:
        self.message = describe(cause)
        super().__init__(self.message)


class EncodingError(Exception):
    """The model answered with something that JSON can't hold."""


def describe(error: BaseException, hide: str | None = None) -> str:
    """Return the error's own message, shortened, or the name of its type if it has none.

    Args:
        hide: A directory that the message must not show, not even in part.
    """
    try:
        message = _of_exit(error) if isinstance(error, SystemExit) else str(error)
    except BaseException:  # a model's own exception class may raise anything here
        message = ""
    if hide is not None:
        message = message.replace(hide, "<directory>")
    return presentable(message) or type(error).__name__


def _of_exit(error: SystemExit) -> str:
    told = "the model ended the process"
    return told if error.code is None else f"{told}: {error.code}"


def presentable(message: str, longest: int = _LONGEST_MESSAGE) -> str:
    """Return a message that doesn't echo a whole input back and can be written as UTF-8."""
    if len(message) > longest:
        message = message[:longest] + "..."
    # It may quote a lone surrogate.
    return message.encode("utf-8", "backslashreplace").decode("utf-8")


def error_body(error_code: str, message: str) -> bytes:
    """Return the JSON that MLflow answers errors with: `{"error_code": ..., "message": ...}`."""
    return orjson.dumps({"error_code": error_code, "message": presentable(message)})
