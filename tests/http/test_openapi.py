"""The description of the routes, and that the server keeps to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import mlflow.pyfunc
import pandas as pd
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Object, Property
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server.http.openapi import describe
from server.worker import loading
from server.worker.rehearsal.rehearsal import serving_example
from tests.support.models import TEXT_SIGNATURE, SavedModels
from tests.support.registry import Registry
from tests.support.server import Server

SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(DataType.string, "text"),
            ColSpec(DataType.long, "count"),
            ColSpec(DataType.double, "weight", required=False),
            ColSpec(DataType.boolean, "urgent"),
        ]
    ),
    params=ParamSchema([ParamSpec("limit", DataType.integer, 5)]),
)
EXAMPLE = pd.DataFrame({"text": ["t"], "count": [1], "weight": [0.5], "urgent": [True]})

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SETTINGS = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)


def schema_of(server: Server) -> schemathesis.BaseSchema:
    """What the server says of itself."""
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Server]:
    """A server of a model with columns of several types."""
    path = saved.save(
        "return [str(value) for value in model_input['text']]",
        signature=SIGNATURE,
        input_example=EXAMPLE,
    )
    registry.create("described")
    registry.promote("described", registry.add("described", path))
    server = Server(
        tmp_path_factory.mktemp("described"),
        MODEL_URI="models:/described/Production",
        MLFLOW_TRACKING_URI=registry.uri,
        POLL_INTERVAL_SECONDS="0",
    )
    server.wait_healthy()
    yield server
    server.close()


def test_the_request_is_described_by_the_signature(server: Server) -> None:
    document = server.get("/openapi.json").json
    operation = document["paths"]["/invocations"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    forms = {form["required"][0]: form for form in content["schema"]["oneOf"]}
    assert set(forms) == {"dataframe_split", "dataframe_records", "instances", "inputs"}
    record = forms["dataframe_records"]["properties"]["dataframe_records"]["items"]
    assert record["required"] == ["text", "count", "urgent"]
    assert record["properties"]["count"]["type"] == "integer"
    assert forms["inputs"]["properties"]["params"]["properties"]["limit"]["default"] == 5
    assert server.predict(content["example"]).json == {"predictions": ["t"]}


def test_the_description_changes_with_the_version(
    server: Server, registry: Registry, saved: SavedModels
) -> None:
    before = server.get("/openapi.json").json
    version = registry.add("described", saved.saying("other"))
    registry.promote("described", version)
    assert server.request("POST", "/reload?force=true").status == 200
    after = server.get("/openapi.json").json
    assert after["info"]["version"] == version
    assert before["paths"]["/invocations"] != after["paths"]["/invocations"]
    registry.promote("described", "1")
    assert server.request("POST", "/reload?force=true").status == 200
    assert server.get("/openapi.json").json == before


def described(path: Path) -> tuple[Any, Any]:
    """Return the schema and the example of the requests that a saved model takes."""
    model = mlflow.pyfunc.load_model(str(path))
    document = describe("model", "v1", loading.describe(model, serving_example(model, str(path))))
    body = document["paths"]["/invocations"]["post"]["requestBody"]
    content = body["content"]["application/json"]
    return content["schema"], content.get("example")


def test_params_that_are_objects_are_described(saved: SavedModels) -> None:
    options = Object([Property("unit", DataType.string), Property("limit", DataType.long, False)])
    params = ParamSchema([ParamSpec("options", options, {"unit": "m"})])
    signature = ModelSignature(inputs=TEXT_SIGNATURE.inputs, params=params)
    schema, _ = described(saved.save("return ['a'] * len(model_input)", signature=signature))
    fits = jsonschema_rs.validator_for(schema)
    assert fits.is_valid({"instances": ["a"], "params": {"options": {"unit": "m", "limit": 1}}})
    assert not fits.is_valid({"instances": ["a"], "params": {"options": {"limit": 1}}})


CHAT = """
from mlflow.models import set_model
from mlflow.pyfunc import ChatModel
from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage

class Model(ChatModel):
    def predict(self, context, messages, params):
        message = ChatMessage(role="assistant", content="hi")
        return ChatCompletionResponse(choices=[ChatChoice(message=message)])

set_model(Model())
"""


@pytest.mark.filterwarnings("ignore")
def test_the_unified_format_is_described_for_chat_models(tmp_path: Path) -> None:
    code = tmp_path / "chat.py"
    code.write_text(CHAT)
    path = tmp_path / "model"
    mlflow.pyfunc.save_model(str(path), python_model=str(code), pip_requirements=[])
    schema, example = described(path)
    assert "messages" in example
    fits = jsonschema_rs.validator_for(schema)
    assert fits.is_valid(example)
    assert not fits.is_valid({"messages": "hi"})
    assert not fits.is_valid({"temperature": 1.0})


def test_models_without_a_signature_are_described_by_their_example(saved: SavedModels) -> None:
    path = saved.save("return 'a'", signature=False, input_example={"prompt": "x"})
    schema, example = described(path)
    assert jsonschema_rs.validator_for(schema).is_valid(example)


HINTED = """
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, model_input: list[str]) -> list[str]:
        return model_input

set_model(Model())
"""


def test_models_with_type_hints_take_no_frames(tmp_path: Path) -> None:
    code = tmp_path / "hinted.py"
    code.write_text(HINTED)
    path = tmp_path / "model"
    mlflow.pyfunc.save_model(str(path), python_model=str(code), pip_requirements=[])
    schema, _ = described(path)
    assert [form["required"] for form in schema["oneOf"]] == [["instances"], ["inputs"]]


def test_other_models_are_not_said_to_take_the_unified_format(server: Server) -> None:
    document = server.get("/openapi.json").json
    body = document["paths"]["/invocations"]["post"]["requestBody"]
    assert len(body["content"]["application/json"]["schema"]["oneOf"]) == 4


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_prediction_gets_an_answer_that_is_not_described(
    server: Server, mode: GenerationMode
) -> None:
    operation = schema_of(server)["/invocations"]["POST"]
    strategy = operation.as_strategy(mode, media_type="application/json")

    @SETTINGS
    @given(case=strategy)
    def check(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=CHECKS)

    check()


@pytest.mark.parametrize("content_type", ["text/csv", "application/vnd.apache.parquet", "a/b", ""])
def test_no_body_of_another_type_gets_an_answer_that_is_not_described(
    server: Server, content_type: str
) -> None:
    case = schema_of(server)["/invocations"]["POST"].Case()
    url = f"{server.url}/invocations"
    headers = {"Content-Type": content_type} if content_type else {}
    table = b"text,count,weight,urgent\r\nt,1,0.5,true\r\n"

    @SETTINGS
    @given(body=st.binary() | st.text().map(str.encode) | st.binary(max_size=9).map(table.__add__))
    def check(body: bytes) -> None:
        case.validate_response(requests.post(url, body, headers=headers, timeout=60), CHECKS)

    check()


@pytest.mark.parametrize(
    "path", ["/health", "/ping", "/livez", "/info", "/version", "/metrics", "/openapi.json"]
)
def test_no_question_gets_an_answer_that_is_not_described(server: Server, path: str) -> None:
    case = schema_of(server)[path]["GET"].Case()
    assert case.call_and_validate(checks=CHECKS).status_code == 200


@pytest.mark.parametrize("force", ["false", "true", "neither"])
def test_no_reload_gets_an_answer_that_is_not_described(server: Server, force: str) -> None:
    case = schema_of(server)["/reload"]["POST"].Case(query={"force": force})
    assert case.call_and_validate(checks=CHECKS).status_code == 200
