"""Which answers of a worker are passed on."""

import orjson

from server.worker.frames import Answer, Outcome

# What the protocol answers with by itself, 200 and 415, and what a model's `MlflowException` may:
# the values of ERROR_CODE_TO_HTTP_STATUS in mlflow/exceptions.py. Others may mean that no body
# follows, as 204 does (RFC 9110, section 6.4.1), and what then follows is read as the next answer.
STATUSES = frozenset({200, 400, 401, 403, 404, 409, 415, 429, 499, 500, 501, 503, 504})

_MESSAGE = "the model's process gave an answer that can't be passed on; the server's log says more"
_BODY = orjson.dumps({"error_code": "INTERNAL_ERROR", "message": _MESSAGE})

# An error is an object with a code and a message, both cut in `server.worker.protocol.errors`; the
# gateway reads all of it, as it may name a credential.
_LONGEST_ERROR = 64 * 1024


def may_pass(answer: Answer) -> bool:
    """Whether an answer is one that a worker gives."""
    status = answer.status
    return status == 200 or (status in STATUSES and len(answer.body) <= _LONGEST_ERROR)


def in_place_of(answer: Answer) -> Answer:
    """What the caller gets in place of an answer that may not pass."""
    return Answer(answer.place, 500, Outcome.INTERNAL_ERROR, _BODY)
