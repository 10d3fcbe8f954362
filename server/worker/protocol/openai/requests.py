"""From the bodies of OpenAI's requests to what MLflow's models take.

The wrappers in mlflow/pyfunc/loaders take the objects as they are and leave what they don't know.
The schemas that MLflow gives such models would refuse it, and tools as well.
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from ...codecs import OPENAI_CHAT, OPENAI_RESPONSES, why_unspoken
from ..bodies import read_json
from ..errors import InvalidInput
from ..parsing import Request, json_type

# What `ChatParams` takes no integers for (mlflow/types/llm.py), and clients send them as.
_FLOATS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
# What is told from it is kept nowhere here.
_KEPT_BY_OPENAI = ("previous_response_id", "conversation", "prompt")


def read_chat(body: bytes, speaks: str | None) -> Request:
    """Read a body of `/v1/chat/completions`.

    Args:
        speaks: What the model speaks.

    Raises:
        InvalidInput: it is none, or not for such a model.
    """
    document = _read(body, OPENAI_CHAT, speaks)
    messages = document.get("messages")
    if not _are_objects(messages) or not all(isinstance(m.get("role"), str) for m in messages):
        raise InvalidInput("'messages' must be a list of objects, each with a 'role'")
    try:
        messages = _without_nulls(messages)
        tools = _without_nulls(document.get("tools"))
    except RecursionError:
        raise InvalidInput("body is nested too deeply") from None
    for place, message in enumerate(messages):
        message["content"] = _content(message.get("content"), speaks, f"messages[{place}]")
    _name_tools(messages)
    payload = {**document, "messages": messages}
    if tools is not None:
        payload["tools"] = tools
    if "max_completion_tokens" in payload:
        payload.setdefault("max_tokens", payload["max_completion_tokens"])
    if isinstance(payload.get("stop"), str):
        payload["stop"] = [payload["stop"]]
    for name in _FLOATS:
        if type(payload.get(name)) is int:
            payload[name] = float(payload[name])
    return _request(OPENAI_CHAT, payload, len(body))


def read_responses(body: bytes, speaks: str | None) -> Request:
    """Read a body of `/v1/responses`.

    Args:
        speaks: What the model speaks.

    Raises:
        InvalidInput: it is none, or not for such a model, or it goes on from what only OpenAI has
            kept.
    """
    document = _read(body, OPENAI_RESPONSES, speaks)
    for name in _KEPT_BY_OPENAI:
        if name in document:
            raise InvalidInput(f"nothing is kept that '{name}' could name: send all in 'input'")
    items = document.get("input")
    if isinstance(items, str):
        items = [{"type": "message", "role": "user", "content": items}]
    if not _are_objects(items):
        raise InvalidInput("'input' must be a string or a list of objects")
    items = [_with_id(item) for item in items]
    if (instructions := document.pop("instructions", None)) is not None:
        # MLflow's request has no such field.
        items.insert(0, {"type": "message", "role": "system", "content": instructions})
    return _request(OPENAI_RESPONSES, {**document, "input": items}, len(body))


def _read(body: bytes, codec: bytes, speaks: str | None) -> dict[str, Any]:
    # The gateway looks, too, but another version may serve by now.
    if (reason := why_unspoken(codec, speaks)) is not None:
        raise InvalidInput(reason, 404, "ENDPOINT_NOT_FOUND")
    document, _ = read_json(body)
    if type(document) is not dict:
        raise InvalidInput(f"body must be a JSON object; it is {json_type(document)}")
    # Clients write so what they leave out.
    return {name: value for name, value in document.items() if value is not None}


def _request(codec: bytes, payload: dict[str, Any], size: int) -> Request:
    model = payload.pop("model", "")
    return Request(
        codec.decode(),
        payload,
        None,
        None,
        None,
        size=size,
        stream=payload.get("stream") is True,
        model=model if isinstance(model, str) else "",
    )


def _are_objects(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return type(value) is list and len(value) > 0 and {*map(type, value)} == {dict}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(item) for k, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _content(content: Any, speaks: str | None, where: str) -> Any:
    """Return a message's content as text, if it is nothing else."""
    if type(content) is not list:
        return content
    texts = []
    for part in content:
        text = part.get("text", part.get("refusal")) if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            # `ChatAgentMessage` (mlflow/types/agent.py).
            if speaks == "agent":
                raise InvalidInput(f"{where}.content: this model takes parts of type 'text' only")
            return content
        texts.append(text)
    return "\n".join(texts)


def _name_tools(messages: Iterable[dict[str, Any]]) -> None:
    """Have each tool's message say which tool it was.

    OpenAI's need not, and `ChatAgentMessage` insists (mlflow/types/agent.py).
    """
    names: dict[Any, Any] = {}
    for message in messages:
        calls = message.get("tool_calls")
        for call in calls if _are_objects(calls) else ():
            function = call.get("function")
            if isinstance(function, dict):
                names[str(call.get("id"))] = function.get("name")
        if message["role"] == "tool":
            message.setdefault("name", names.get(str(message.get("tool_call_id"))) or "tool")


def _with_id(item: dict[str, Any]) -> dict[str, Any]:
    """Return what the model has said before as an output item: MLflow's `Message` holds none."""
    content = item.get("content")
    if item.get("role") != "assistant" or not _are_objects(content):
        return item
    return {"type": "message", "id": f"msg_{uuid.uuid4().hex}", **item}
