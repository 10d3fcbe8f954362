"""The OpenAPI description, made from the signature and example of the version that serves."""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from server import __version__
from server.http.openapi_openai import paths_of

Schema = dict[str, Any]

_JSON = "application/json"

# The type names are those of `mlflow.types.DataType`, as a signature's JSON has them.
_SCALARS: Mapping[str, Schema] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "long": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "string": {"type": "string"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string", "format": "date-time"},
    "any": {},
}

# Any of these keys makes an object a request for a chat, a completion or an embedding
# (mlflow/pyfunc/utils/serving_data_parser.py, `SUPPORTED_LLM_FORMATS`).
_UNIFIED = ("messages", "prompt", "input")

_ERRORS: Mapping[str, str] = {
    "400": "The body does not fit, or the model raised on it; the message says what to change.",
    "401": "The API key is missing or wrong, where one is asked for.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The content type is not JSON, CSV or Parquet, or the content coding is not taken.",
    "431": "The head is too large.",
    "500": "The model's process died of this request, or its answer could not be written.",
    "503": "No model serves yet, or too many requests wait.",
    "504": "The prediction took too long.",
    # So may some of those above be; the model's have the header that names the version.
    "default": "The model raised an `MlflowException`: its error code, and the status of that.",
}


def describe(
    name: str,
    label: str | None,
    model: Mapping[str, Any] | None,
    root_path: str = "",
    speaks: str | None = None,
    *,
    streams: bool = False,
) -> Schema:
    """Return the OpenAPI 3.1 document.

    Args:
        name: The model's name.
        label: The version that serves, or None.
        model: What a worker told of it: `signature`, `from_type_hint` and `example`.
        root_path: The prefix that a proxy keeps, or nothing.
        speaks: Which of OpenAI's routes are for the model, see
            `server.worker.conversations.speaks`.
        streams: Whether the model can answer in chunks.
    """
    model = model or {}
    version = label or "none"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": version,
            "description": f"Predictions of the MLflow model {name!r}; version {version} serves.",
            "x-server-version": __version__,
        },
        **({"servers": [{"url": root_path}]} if root_path else {}),
        "paths": {
            "/invocations": {"post": _invocations(model, streams=streams)},
            **paths_of(speaks, _ERRORS),
            "/reload": {"post": _reload()},
            "/health": {"get": _health("Whether this server should get requests")},
            "/ping": {"get": _health("The same as /health, as MLflow's own server has it")},
            "/livez": {"get": _get("Whether the process lives", {"type": "object"})},
            "/info": {"get": _get("What serves, and how the last reload went", {"type": "object"})},
            "/version": {"get": _get("The MLflow version", {"type": "string"}, "text/plain")},
            "/metrics": {"get": _get("Prometheus metrics", {"type": "string"}, "text/plain")},
            "/openapi.json": {"get": _get("This description", {"type": "object"})},
        },
        "components": {"schemas": {"Error": _ERROR}},
    }


_ERROR: Schema = {
    "type": "object",
    "required": ["error_code", "message"],
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
}


def _invocations(model: Mapping[str, Any], *, streams: bool) -> Schema:
    content: Schema = {"schema": _request(model, streams=streams)}
    if (example := model.get("example")) is not None:
        content["example"] = example
    return {
        "summary": "Predict",
        "requestBody": {
            "required": True,
            "content": {
                _JSON: content,
                "text/csv": {"schema": {"type": "string"}},
                "application/vnd.apache.parquet": {"schema": {"type": "string"}},
            },
        },
        "responses": {
            "200": {
                "description": "The predictions; without the wrapper for chat and completions.",
                "headers": {
                    "X-Model-Version": {
                        "description": "The version that answered.",
                        "schema": {"type": "string"},
                    }
                },
                "content": {_JSON: {"schema": {}}, **(_STREAM if streams else {})},
            },
            **{status: _error(text) for status, text in _ERRORS.items()},
        },
    }


_STREAM: Schema = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": 'data: "a chunk, in JSON"\n\ndata: [DONE]\n\n',
    }
}


def _request(model: Mapping[str, Any], *, streams: bool) -> Schema:
    """The schema of a request; any where the model's process has made up a signature."""
    try:
        schema = _request_of(model, streams=streams)
        orjson.dumps(schema)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return {}
    return schema


def _request_of(model: Mapping[str, Any], *, streams: bool) -> Schema:
    signature = model.get("signature") or {}
    inputs = json.loads(signature.get("inputs") or "[]")
    params = json.loads(signature.get("params") or "[]")
    columns = [column for column in inputs if column.get("name") and column["type"] != "tensor"]
    record = _record(columns) if columns and len(columns) == len(inputs) else None
    forms = _forms_of_columns(columns, record) if record else _FORMS
    if model.get("from_type_hint"):
        forms = {name: forms[name] for name in ("instances", "inputs")}
    common = {"params": _params(params)} if params else {}
    if streams:
        common["stream"] = {"type": "boolean", "default": False}
    described: list[Schema] = [
        {
            "type": "object",
            "required": [name],
            "properties": {name: schema, **common},
            "additionalProperties": False,
        }
        for name, schema in forms.items()
    ]
    if _is_unified(record, model.get("example")):
        described.append(_unified(record or {}, params))
    return {"oneOf": described}


def _is_unified(record: Schema | None, example: Any) -> bool:
    """Tell whether the model is for chats and the like; MLflow lets every model be asked so."""
    known = {*(record["properties"] if record else ())}
    if isinstance(example, Mapping):
        known.update(example)
    return not known.isdisjoint(_UNIFIED)


def _unified(record: Schema, params: list[Mapping[str, Any]]) -> Schema:
    """The columns and the parameters side by side, without a key around them."""
    return {
        "type": "object",
        "required": record.get("required", []),
        "properties": {**record.get("properties", {}), **_params(params)["properties"]},
        "anyOf": [{"required": [name]} for name in _UNIFIED],
    }


_ROWS: Schema = {"type": "array", "items": {}}
_FORMS: Mapping[str, Schema] = {
    "dataframe_split": {
        "type": "object",
        "required": ["data"],
        "properties": {"columns": _ROWS, "index": _ROWS, "data": _ROWS},
    },
    "dataframe_records": {"type": "array", "items": {"type": "object"}},
    "instances": {},
    "inputs": {},
}


def _record(columns: list[Mapping[str, Any]]) -> Schema:
    return {
        "type": "object",
        "required": [column["name"] for column in columns if column.get("required", True)],
        "properties": {column["name"]: _value(column) for column in columns},
    }


def _forms_of_columns(columns: list[Mapping[str, Any]], record: Schema) -> Mapping[str, Schema]:
    names = [column["name"] for column in columns]
    values = record["properties"]
    rows = {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "array",
            "prefixItems": list(values.values()),
            "minItems": len(names),
            "maxItems": len(names),
        },
    }
    split = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {"columns": {"const": names}, "data": rows},
        "additionalProperties": False,
    }
    records = {"type": "array", "minItems": 1, "items": record}
    plain = {"type": "array", "minItems": 1, "items": values[names[0]]}
    listed = {"anyOf": [records, plain]} if len(names) == 1 else records
    return {
        "dataframe_split": split,
        "dataframe_records": records,
        "instances": listed,
        "inputs": listed,
    }


def _value(column: Mapping[str, Any]) -> Schema:
    kind = column["type"]
    if kind == "array":
        schema: Schema = {"type": "array", "items": _value(column["items"])}
    elif kind == "map":
        schema = {"type": "object", "additionalProperties": _value(column["values"])}
    elif kind == "object":
        properties = column["properties"]
        schema = {
            "type": "object",
            "required": [k for k, v in properties.items() if v.get("required", True)],
            "properties": {k: _value(v) for k, v in properties.items()},
        }
    else:
        schema = dict(_SCALARS.get(kind, {}))
    if column.get("required", True) or not schema:
        return schema
    return {"anyOf": [schema, {"type": "null"}]}


def _params(params: list[Mapping[str, Any]]) -> Schema:
    properties = {}
    for param in params:
        value = _value(param)
        if param.get("shape"):
            value = {"type": "array", "items": value}
        properties[param["name"]] = {**value, "default": param.get("default")}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _reload() -> Schema:
    body = {"type": "object", "required": ["status", "message", "model_uri", "version_changed"]}
    failed = {
        "404": "The registry has no such version.",
        "500": "The new version would not load or failed its rehearsal; the old one serves on.",
        "503": "The registry can't be reached, or the version is still being registered.",
    }
    return {
        "summary": "Swap to what the registry names now",
        "parameters": [
            {
                "name": "force",
                "in": "query",
                "description": "Skip the rehearsal. Without a token, for this machine alone.",
                "schema": {"type": "boolean", "default": False},
            }
        ],
        "responses": {
            "200": {"description": "Done.", "content": {_JSON: {"schema": body}}},
            "401": _error("The reload token is missing or wrong."),
            "403": _error(
                "There is no token, and a page of another origin asks, or another machine to force."
            ),
            **{
                status: {"description": text, "content": {_JSON: {"schema": body}}}
                for status, text in failed.items()
            },
        },
    }


def _health(summary: str) -> Schema:
    schema = {"type": "object", "required": ["status", "model_name", "model_uri"]}
    return {
        "summary": summary,
        "responses": {
            "200": {"description": "A model serves.", "content": {_JSON: {"schema": schema}}},
            "503": {"description": "None does.", "content": {_JSON: {"schema": schema}}},
        },
    }


def _get(summary: str, schema: Schema, content_type: str = _JSON) -> Schema:
    return {
        "summary": summary,
        "responses": {"200": {"description": "OK.", "content": {content_type: {"schema": schema}}}},
    }


def _error(description: str) -> Schema:
    reference = {"$ref": "#/components/schemas/Error"}
    return {"description": description, "content": {_JSON: {"schema": reference}}}
