"""The part of the OpenAPI description that tells of OpenAI's routes."""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

_JSON = "application/json"

_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_MESSAGES: Schema = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role"],
        "properties": {"role": {"type": "string"}},
    },
}
_ITEMS: Schema = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "minItems": 1, "items": {"type": "object"}},
    ]
}


def paths_of(speaks: str | None, errors: Mapping[str, str]) -> dict[str, Schema]:
    """The routes that are for a model which speaks this, each with its description.

    Args:
        speaks: See `server.worker.conversations.speaks`.
        errors: What the statuses of failed predictions mean.
    """
    if speaks is None:
        return {}

    def post(summary: str, name: str, schema: Schema) -> Schema:
        return {"post": _post(summary, name, schema, errors)}

    model = {"type": "object", "required": ["id", "object", "created", "owned_by"]}
    listed = {"type": "object", "required": ["object", "data"]}
    named = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    shown = {**_get("The same, by its name", model), "parameters": [named]}
    paths: dict[str, Schema] = {
        "/v1/models": {"get": _get("The model that serves", listed)},
        "/v1/models/{model}": {"get": shown},
    }
    if speaks == "responses":
        responses = post("Create a response, as OpenAI does", "input", _ITEMS)
        return {"/v1/responses": responses, "/responses": responses, **paths}
    completions = post("Create a chat completion, as OpenAI does", "messages", _MESSAGES)
    return {"/v1/chat/completions": completions, **paths}


def _post(summary: str, name: str, schema: Schema, errors: Mapping[str, str]) -> Schema:
    stream = {"type": ["boolean", "null"], "description": "Whether to answer with events."}
    body = {
        "type": "object",
        "required": [name],
        "properties": {"model": {"type": "string"}, name: schema, "stream": stream},
    }
    answers = {_JSON: {"schema": {"type": "object"}}, "text/event-stream": {"schema": {}}}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {_JSON: {"schema": body}}},
        "responses": {
            "200": {"description": "The model's answer.", "content": answers},
            **{status: _error(text) for status, text in errors.items()},
        },
    }


def _get(summary: str, schema: Schema) -> Schema:
    answer = {"description": summary + ".", "content": {_JSON: {"schema": schema}}}
    return {"summary": summary, "responses": {"200": answer, "404": _error("No such model.")}}


def _error(text: str) -> Schema:
    return {"description": text, "content": {_JSON: {"schema": _ERROR}}}
