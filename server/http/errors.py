"""How each error is said over HTTP, in one place."""

from collections.abc import Mapping

import orjson
from aiohttp import hdrs, web

from server.errors import (
    NotServing,
    PredictionTimeout,
    QueueFull,
    RegistryDown,
    ReloadFailed,
    ServerStopping,
    ServingError,
    TimedOutBefore,
    TooMuchInFlight,
    VersionNotFound,
    VersionNotReady,
    WorkerDied,
    WorkerDiedBefore,
)
from server.redaction import redact_value

RETRY_AFTER_SECONDS = 1

# The names are MLflow's (mlflow/protos/databricks.proto, ErrorCode) where it has one.
_STATUS: Mapping[type[ServingError], tuple[int, str]] = {
    NotServing: (503, "TEMPORARILY_UNAVAILABLE"),
    QueueFull: (503, "TEMPORARILY_UNAVAILABLE"),
    TooMuchInFlight: (503, "TEMPORARILY_UNAVAILABLE"),
    PredictionTimeout: (504, "DEADLINE_EXCEEDED"),
    TimedOutBefore: (504, "DEADLINE_EXCEEDED"),
    WorkerDied: (500, "INTERNAL_ERROR"),
    WorkerDiedBefore: (500, "INTERNAL_ERROR"),
}

_RELOAD_STATUS: Mapping[type[ReloadFailed], int] = {
    VersionNotFound: 404,
    VersionNotReady: 503,
    RegistryDown: 503,
    ServerStopping: 503,
}

_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    413: "REQUEST_LIMIT_EXCEEDED",
    415: "BAD_REQUEST",
    417: "BAD_REQUEST",
    431: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def error_response(
    status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer of MLflow's shape: `{"error_code": …, "message": …}`."""
    code = code or _CODES.get(status, "INTERNAL_ERROR")
    response = json_response(status, {"error_code": code, "message": message})
    response.headers.update(headers or {})
    return response


def in_openais_shape(status: int, body: bytes) -> bytes:
    """Say an error as OpenAI does: `{"error": {"message", "type", "param", "code"}}`.

    Its clients choose the exception by the status, and hand these on.

    Args:
        status: The answer's.
        body: The error in MLflow's shape; a model may have written another.
    """
    try:
        told = orjson.loads(body)
        message, code = str(told["message"]), str(told["error_code"]).lower()
    except (LookupError, TypeError, ValueError):
        message, code = "the model's process told of an error in no known shape", "internal_error"
    error = {
        "message": message,
        "type": "server_error" if status >= 500 else "invalid_request_error",
        "param": None,
        "code": "invalid_api_key" if status == 401 else code,
    }
    return orjson.dumps({"error": error})


def serving_error_response(error: ServingError) -> web.Response:
    """The answer that tells a client of `error`."""
    status, code = _STATUS[type(error)]
    return error_response(status, str(error), code)


def reload_failed_response(
    error: ReloadFailed, name: str, uri: str, *, trusted: bool
) -> web.Response:
    """The answer that tells who asked for a reload that it did not happen.

    Args:
        name: The model's.
        uri: What was to be served.
        trusted: Whether who asked has shown the token, and may read what the log says.
    """
    status = _RELOAD_STATUS.get(type(error), 500)
    what = f" {error.failed.display}" if error.failed else ""
    reason = str(error) if trusted else error.public
    body = {
        "status": "error",
        "message": f"Model '{name}'{what} not reloaded, {error.phase} failed: {reason}",
        "model_uri": uri,
        "old_version": error.serving and error.serving.display,
        "version_changed": False,
    }
    return json_response(status, body)


def json_response(status: int, body: object) -> web.Response:
    """An answer in JSON, without credentials; a 503 says when to try again."""
    response = web.Response(
        status=status,
        body=orjson.dumps(redact_value(body)),
        content_type="application/json",
    )
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def http_exception_response(error: web.HTTPException, request: web.BaseRequest) -> web.Response:
    """The answer for what aiohttp itself refuses."""
    headers = {k: v for k, v in error.headers.items() if k in (hdrs.ALLOW, hdrs.ACCEPT_ENCODING)}
    message = error.reason
    if isinstance(error, web.HTTPNotFound):
        message = f"there is no route {request.path}"
    elif isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.path} takes {allowed}, not {error.method}"
    elif isinstance(error, web.HTTPRequestEntityTooLarge):
        message = "the body is larger than this server takes (MAX_BODY_BYTES)"
    elif isinstance(error, web.HTTPRequestTimeout):
        message = "the body did not arrive in time, or came too slowly"
    response = error_response(error.status, message, headers=headers)
    if isinstance(error, web.HTTPRequestTimeout | web.HTTPRequestEntityTooLarge):
        # What is left of the body must not be read as the next request.
        response.force_close()
    return response
