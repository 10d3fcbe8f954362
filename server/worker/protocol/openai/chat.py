"""From the answers of MLflow's `ChatModel` and `ChatAgent` to OpenAI's chat completions."""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from ..parsing import Request

_BESIDE = ("usage", "custom_outputs", "messages")


def answer(request: Request, said: Any) -> dict[str, Any]:
    """Make a `chat.completion` of a `ChatCompletionResponse`, or of a `ChatAgentResponse`: its last
    message is the answer, and all of them, such as calls of tools that it has made itself, stand
    beside it in `messages`.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: it is neither.
    """
    if "choices" in said:
        choices = [{"index": place, **choice} for place, choice in enumerate(said["choices"])]
    else:
        *_, message = said["messages"]
        choices = [{"index": 0, "message": message, "finish_reason": said.get("finish_reason")}]
    for choice in choices:
        message = {"role": "assistant", "content": None, **choice["message"]}
        choice["message"] = message
        choice["finish_reason"] = choice.get("finish_reason") or _reason(message)
    return {**_envelope(request, said, "chat.completion"), "choices": choices, **_beside(said)}


def stream(request: Request, chunks: Iterator[Any]) -> Iterator[dict[str, Any]]:
    """Make each `ChatCompletionChunk` or `ChatAgentChunk` a `chat.completion.chunk`.

    They all get one id; a `ChatAgent`'s messages become choices. A choice that was not said to be
    finished is, at the end.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: a chunk is neither.
    """
    envelope: dict[str, Any] | None = None
    # By their index: whether they are finished, and the ids of the tool calls in them.
    finished: dict[int, bool] = {}
    calls: dict[int, list[str]] = {}
    messages: list[Any] = []
    for chunk in chunks:
        envelope = envelope or _envelope(request, chunk, "chat.completion.chunk")
        choices = []
        for choice in _choices(chunk, messages):
            index = choice["index"]
            known = calls.setdefault(index, [])
            delta = _with_places(choice["delta"], known)
            reason = choice.get("finish_reason")
            finished[index] = finished.get(index, False) or reason is not None
            choices.append({**choice, "delta": delta, "finish_reason": reason})
        yield {**envelope, "choices": choices, **_beside(chunk)}
    envelope = envelope or _envelope(request, {}, "chat.completion.chunk")
    left = [index for index in finished or (0,) if not finished.get(index)]
    if left:
        ends: list[dict[str, Any]] = [
            {"index": i, "delta": {}, "finish_reason": "tool_calls" if calls.get(i) else "stop"}
            for i in left
        ]
        yield {**envelope, "choices": ends}


def _envelope(request: Request, said: Any, kind: str) -> dict[str, Any]:
    return {
        "id": said.get("id") or f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": said.get("created") or int(time.time()),
        "model": said.get("model") or request.model,
    }


def _beside(said: Any) -> dict[str, Any]:
    return {name: said[name] for name in _BESIDE if said.get(name) is not None}


def _reason(message: Mapping[str, Any]) -> str:
    return "tool_calls" if message.get("tool_calls") else "stop"


def _choices(chunk: Any, messages: list[Any]) -> list[dict[str, Any]]:
    """Return a chunk's choices, each with its index.

    Args:
        messages: The ids of the messages of a `ChatAgent` that there were, to which new ones are
            added.
    """
    if "choices" in chunk:
        return [{"index": 0, **choice} for choice in chunk["choices"]]
    delta = dict(chunk["delta"])
    identifier = delta.pop("id", None)
    if identifier not in messages:
        messages.append(identifier)
    index = messages.index(identifier)
    return [{"index": index, "delta": delta, "finish_reason": chunk.get("finish_reason")}]


def _with_places(delta: Mapping[str, Any], known: list[str]) -> dict[str, Any]:
    """Return a delta whose tool calls say which they are, as OpenAI's do and MLflow's do not.

    Args:
        known: The ids of those in the deltas before, to which new ones are added.
    """
    if not (calls := delta.get("tool_calls")):
        return dict(delta)
    placed = []
    for call in calls:
        if call["id"] not in known:
            known.append(call["id"])
        placed.append({"index": known.index(call["id"]), **call})
    return {**delta, "tool_calls": placed}
