"""Which answers of a worker are passed on."""

import orjson

from server.worker.frames import Answer, Outcome

# What the protocol answers with by itself, 200 and 415, and what a model's `MlflowException` may:
# the values of ERROR_CODE_TO_HTTP_STATUS in mlflow/exceptions.py. Others may mean that no body
# follows, as 204 does (RFC 9110, section 6.4.1), and what then follows is read as the next answer.
STATUSES = frozenset({200, 400, 401, 403, 404, 409, 415, 429, 499, 500, 501, 503, 504})

_MESSAGE = "the model's process gave an answer that can't be passed on; the server's log says more"
_BODY = orjson.dumps({"error_code": "INTERNAL_ERROR", "message": _MESSAGE})


def in_place_of(answer: Answer) -> Answer:
    """What the caller gets in place of an answer with another status."""
    return Answer(answer.place, 500, Outcome.INTERNAL_ERROR, _BODY)
