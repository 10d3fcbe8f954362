"""The description of the routes, and that the server keeps to it."""

import asyncio
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
from server.worker.rehearsal.examples import serving_example
from tests.conftest import StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.models import TEXT_SIGNATURE, SavedModels

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


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway, saved: SavedModels) -> Gateway:
    """A gateway that serves a model with columns of several types."""
    return await start_gateway(
        saved.save(
            "return [str(value) for value in model_input['text']]",
            signature=SIGNATURE,
            input_example=EXAMPLE,
        )
    )


async def operation_of(client: Client, method: str, path: str) -> Any:
    """What the server says of one of its operations."""

    def read() -> Any:
        return schemathesis.openapi.from_url(f"{client.url}/openapi.json")[path][method]

    return await asyncio.to_thread(read)


async def test_the_request_is_described_by_the_signature(client: Client) -> None:
    document = (await client.get("/openapi.json")).json
    operation = document["paths"]["/invocations"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    forms = {form["required"][0]: form for form in content["schema"]["oneOf"]}
    assert set(forms) == {"dataframe_split", "dataframe_records", "instances", "inputs"}
    record = forms["dataframe_records"]["properties"]["dataframe_records"]["items"]
    assert record["required"] == ["text", "count", "urgent"]
    assert record["properties"]["count"]["type"] == "integer"
    assert forms["inputs"]["properties"]["params"]["properties"]["limit"]["default"] == 5
    assert (await client.predict(content["example"])).json == {"predictions": ["t"]}


async def test_the_description_changes_with_the_version(client: Client) -> None:
    gateway = client.gateway
    before = (await client.get("/openapi.json")).json
    version = gateway.add("other")
    gateway.promote(version)
    assert (await client.request("POST", "/reload?force=true")).status == 200
    after = (await client.get("/openapi.json")).json
    assert after["info"]["version"] == version
    assert before["paths"]["/invocations"] != after["paths"]["/invocations"]
    gateway.promote("1")
    assert (await client.request("POST", "/reload?force=true")).status == 200
    assert (await client.get("/openapi.json")).json == before


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


async def test_other_models_are_not_said_to_take_the_unified_format(client: Client) -> None:
    document = (await client.get("/openapi.json")).json
    body = document["paths"]["/invocations"]["post"]["requestBody"]
    assert len(body["content"]["application/json"]["schema"]["oneOf"]) == 4


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_no_prediction_gets_an_answer_that_is_not_described(
    client: Client, mode: GenerationMode
) -> None:
    operation = await operation_of(client, "POST", "/invocations")

    @SETTINGS
    @given(case=operation.as_strategy(mode, media_type="application/json"))
    def check(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=CHECKS)

    await asyncio.to_thread(check)


@pytest.mark.parametrize("content_type", ["text/csv", "application/vnd.apache.parquet", "a/b", ""])
async def test_no_body_of_another_type_gets_an_answer_that_is_not_described(
    client: Client, content_type: str
) -> None:
    case = (await operation_of(client, "POST", "/invocations")).Case()
    url = f"{client.url}/invocations"
    headers = {"Content-Type": content_type} if content_type else {}
    table = b"text,count,weight,urgent\r\nt,1,0.5,true\r\n"

    @SETTINGS
    @given(body=st.binary() | st.text().map(str.encode) | st.binary(max_size=9).map(table.__add__))
    def check(body: bytes) -> None:
        case.validate_response(requests.post(url, body, headers=headers, timeout=60), CHECKS)

    await asyncio.to_thread(check)


@pytest.mark.parametrize(
    "path", ["/health", "/ping", "/livez", "/info", "/version", "/metrics", "/openapi.json"]
)
async def test_no_question_gets_an_answer_that_is_not_described(client: Client, path: str) -> None:
    case = (await operation_of(client, "GET", path)).Case()
    answer = await asyncio.to_thread(case.call_and_validate, checks=CHECKS)
    assert answer.status_code == 200


@pytest.mark.parametrize("force", ["false", "true", "neither"])
async def test_no_reload_gets_an_answer_that_is_not_described(client: Client, force: str) -> None:
    case = (await operation_of(client, "POST", "/reload")).Case(query={"force": force})
    answer = await asyncio.to_thread(case.call_and_validate, checks=CHECKS)
    assert answer.status_code == 200
