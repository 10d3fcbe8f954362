"""The description of the routes, and that the server keeps to it."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.models import SavedModels
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
