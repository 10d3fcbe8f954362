"""What a worker tells the gateway of the model that it loads, whatever is in it."""

import json
import math
import warnings
from pathlib import Path

import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from server.worker import strict_json
from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.log import Log

NUMBER = ModelSignature(inputs=Schema([ColSpec(DataType.double, "x")]))

CHAT = """
from mlflow.models import set_model
from mlflow.pyfunc import ChatModel
from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage

class Model(ChatModel):
    def predict(self, context, messages, params):
        answer = ChatMessage(role="assistant", content=messages[-1].content.upper())
        return ChatCompletionResponse(choices=[ChatChoice(message=answer)])

set_model(Model())
"""


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway that remembers no requests: the models here don't take the same."""
    return await start_gateway("first", rehearsal_requests=0)


async def test_an_example_with_missing_values_does_not_keep_a_model_from_serving(
    client: Client, gateway: Gateway
) -> None:
    await gateway.serve(
        gateway.saved.save(
            "return model_input['x'].fillna(-1.0).tolist()",
            signature=NUMBER,
            input_example=pd.DataFrame({"x": [math.nan, 2.5]}),
        )
    )
    description = (await client.get("/openapi.json")).json
    (example,) = (
        media["example"]
        for media in description["paths"]["/invocations"]["post"]["requestBody"]["content"].values()
        if "example" in media
    )
    assert example["dataframe_split"]["data"] == [[None], [2.5]]


@pytest.mark.parametrize("example", ['{"inputs": [1e999]}', '{"inputs": [%s]}' % ("9" * 400)])
async def test_an_example_that_other_parsers_refuse_does_not_keep_a_model_from_serving(
    gateway: Gateway, example: str
) -> None:
    path = gateway.saved.save(
        "return ['fine'] * len(model_input)", signature=None, input_example=["text"]
    )
    (path / "serving_input_example.json").write_text(example)
    await gateway.serve(path)


async def test_why_a_model_fails_is_told_whatever_characters_it_says_it_in(
    gateway: Gateway, log: Log
) -> None:
    bad = gateway.add(
        gateway.saved.save(
            "return ['never'] * len(model_input)",
            load="raise RuntimeError('half an emoji: \\ud83d.')",
            input_example=None,
        )
    )
    gateway.promote(bad)
    await gateway.watcher.poll()
    (failure,) = log.find("reload_failed", failed_version=f"v{bad}")
    assert failure["phase"] == "load"
    assert failure["error"] == "RuntimeError: half an emoji: \\ud83d."


async def test_why_a_model_fails_is_told_when_its_error_can_t_be_printed(
    gateway: Gateway, log: Log
) -> None:
    bad = gateway.add(
        gateway.saved.save(
            "return ['never'] * len(model_input)",
            load="raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()",
            input_example=None,
        )
    )
    gateway.promote(bad)
    await gateway.watcher.poll()
    (failure,) = log.find("reload_failed", failed_version=f"v{bad}")
    assert (failure["phase"], failure["error"]) == ("load", "Odd")


async def test_a_chat_model_is_served(
    tmp_path: Path, start_gateway: StartGateway, connect: Connect
) -> None:
    module, path = tmp_path / "module.py", tmp_path / "model"
    module.write_text(CHAT)
    with warnings.catch_warnings(action="ignore"):
        mlflow.pyfunc.save_model(str(path), python_model=str(module), pip_requirements=["mlflow"])
    client = await connect(await start_gateway(path))
    answer = await client.predict({"messages": [{"role": "user", "content": "hello"}]})
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "HELLO"


def test_values_that_strict_parsers_refuse_are_replaced() -> None:
    value = {"numbers": [1.5, math.nan, math.inf, -math.inf, float("1e308")], "text": "a\ud83db é"}
    assert json.loads(strict_json.dumps(value).decode()) == {
        "numbers": [1.5, None, None, None, 1e308],
        "text": "a?b é",
    }
