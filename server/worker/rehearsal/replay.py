"""Replaying real requests in a candidate, and comparing with what was answered before."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .. import logs
from ..merging.together import Answered
from ..protocol import EncodingError, InvalidInput, ModelError, Protocol, Request
from ..spec import RecordedRequest

_DIFFERENCES_LOGGED = 3


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of the replay.

    Attributes:
        answers: The candidate's answers, in the order of the requests; empty where it had none.
        answered: The requests that it answered.
        changed: How many answers differ from what was answered before.
        differences: Why the candidate must not serve, in words without anyone's data; empty if it
            may.
    """

    answers: list[bytes]
    answered: list[Answered]
    changed: int
    differences: list[str]


def replay(protocol: Protocol, requests: Sequence[RecordedRequest]) -> Replay:
    """Answer each request by itself and compare."""
    answers: list[bytes] = []
    answered: list[Answered] = []
    changed = 0
    differences: list[str] = []
    for number, recorded in enumerate(requests, 1):
        request, answer, difference = _answer(protocol, recorded)
        answers.append(answer)
        changed += answer != recorded.answer
        if request is not None:
            answered.append(Answered(request, answer))
        if difference is None:
            continue
        differences.append(f"request {number} of {len(requests)}: {difference}")
        if len(differences) <= _DIFFERENCES_LOGGED and logs.log.isEnabledFor(logging.DEBUG):
            fields = {
                "request": recorded.body[:2000],
                "old_answer": recorded.answer[:2000],
                "new_answer": answer[:2000],
            }
            logs.log.debug("rehearsal_difference", extra={"fields": fields})
    return Replay(answers, answered, changed, differences)


def _answer(
    protocol: Protocol, recorded: RecordedRequest
) -> tuple[Request | None, bytes, str | None]:
    """Return the request if it is answered, the answer, and what is worse about it."""
    try:
        request = protocol.parse(str(recorded.content_type, "latin-1"), recorded.body)
        answer = protocol.encode(request, protocol.predict(request))
    except ModelError as error:
        return None, b"", f"the model raises {type(error.__cause__).__name__}"
    except InvalidInput:
        return None, b"", "refused as invalid input"
    except EncodingError as error:
        return None, b"", f"the answer has no form in JSON: {error}"
    return request, answer, _difference(recorded.answer, answer)


def _difference(old: bytes, new: bytes) -> str | None:
    try:
        return _worse(_predictions(old), _predictions(new))
    except (ValueError, RecursionError):
        # One of them is well-formed, but too deep or its numbers too long to be read here.
        return None


def _predictions(answer: bytes) -> Any:
    # Not with orjson: it refuses, or reads as something else, some of what `encode` writes.
    value = json.loads(answer)
    if isinstance(value, dict) and list(value) == ["predictions"]:
        return value["predictions"]
    return value


def _worse(old: Any, new: Any) -> str | None:
    """What is worse about `new`: a value of another kind is a matter of taste, but a missing row
    or a missing value is not."""
    if isinstance(old, list) and isinstance(new, list) and len(old) != len(new):
        return f"{len(new)} rows where there were {len(old)}"
    if isinstance(old, list) != isinstance(new, list):
        return f"{_shape(new)} where there was {_shape(old)}"
    lost = sum(_lost_values(old, new))
    return f"null or NaN in place of {lost} values" if lost else None


def _lost_values(old: Any, new: Any) -> Iterator[int]:
    if new is None:
        yield int(old is not None)
    elif isinstance(old, list) and isinstance(new, list):
        for before, after in zip(old, new, strict=False):
            yield from _lost_values(before, after)
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() & new.keys():
            yield from _lost_values(old[key], new[key])


def _shape(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return {dict: "an object", str: "a string", bool: "a boolean", type(None): "null"}.get(
        type(value), "a number"
    )
