"""What the protocol raises, and the body that tells a client about it."""

import orjson
from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS, MlflowException

BAD_REQUEST = "BAD_REQUEST"
INTERNAL_ERROR = "INTERNAL_ERROR"

_STATUSES = frozenset(ERROR_CODE_TO_HTTP_STATUS.values())

_LONGEST_MESSAGE = 1000
_LONGEST_CODE = 100


class InvalidInput(Exception):
    """The request does not fit the protocol, or the model's signature.

    Attributes:
        message: What the client should change.
        status: The HTTP status to answer with: 400, or 415 for a content type that is not read.
        code: The `error_code` to answer with.
    """

    def __init__(self, message: str, status: int = 400, code: str = BAD_REQUEST) -> None:
        self.message = presentable(message)
        self.status = status
        self.code = code
        super().__init__(self.message)


class ModelError(Exception):
    """The model raised. Its own exception is the `__cause__`.

    Attributes:
        message: The message of the model's exception.
        status: The HTTP status to answer with.
        code: The `error_code` to answer with.
    """

    def __init__(self, cause: BaseException, hide: str | None = None) -> None:
        self.message = describe(cause, hide)
        self.status, self.code = status_and_code(cause)
        super().__init__(self.message)


class EncodingError(Exception):
    """The model answered with something that JSON can't hold."""


def status_and_code(error: BaseException) -> tuple[int, str]:
    """Return the HTTP status and the `error_code` that MLflow answers with where a model raised.

    An `MlflowException` brings its own; all else counts as the fault of the input
    (mlflow/pyfunc/scoring_server/__init__.py, `invocations` and `_async_catch_mlflow_exception`).
    """
    if not isinstance(error, MlflowException):
        return 400, BAD_REQUEST
    try:
        # As text and as a number of their own: a subclass may have made them anything.
        status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]
        code = presentable(str(error.error_code), _LONGEST_CODE)
    except BaseException:  # or raise anything
        return 500, INTERNAL_ERROR
    # Any other might tell the client that all is well, or that no body follows; the gateway takes
    # no other.
    return (status, code) if status in _STATUSES else (500, code)


def describe(error: BaseException, hide: str | None = None) -> str:
    """Return the error's own message, shortened, or the name of its type if it has none.

    Args:
        hide: A directory that the message must not show, not even in part.
    """
    try:
        message = _of_exit(error) if isinstance(error, SystemExit) else str(error)
    except BaseException:  # a model's own exception class may raise anything here
        message = ""
    if hide:
        message = message.replace(hide, "<directory>")
    return presentable(message) or type(error).__name__


def named(error: BaseException, hide: str | None = None) -> str:
    """Return what `describe` does, after the name of the error's type.

    Args:
        hide: As for `describe`.
    """
    message, name = describe(error, hide), type(error).__name__
    return name if message == name else f"{name}: {message}"


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
