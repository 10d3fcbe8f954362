"""What a worker tells the gateway of the model that it loads, whatever is in it."""

import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from server.worker import strict_json
from tests.conftest import StartServer
from tests.support.live import Live
from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.server import Server

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


CONFIGURED = """
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, context, model_input: list[str], params=None):
        return [context.model_config["word"]]

set_model(Model())
"""


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Live]:
    """A server that remembers no requests: the models here don't take the same."""
    registry.create("reports")
    registry.promote("reports", registry.add("reports", saved.saying("first")))
    server = Server(
        tmp_path_factory.mktemp("reports"),
        MODEL_URI="models:/reports/Production",
        MLFLOW_TRACKING_URI=registry.uri,
        REHEARSAL_REQUESTS="0",
    )
    server.wait_healthy()
    yield Live(server, registry, "reports", saved)
    server.close()


def save(code: str, directory: Path, **options: Any) -> Path:
    """Save the model that a module sets."""
    module = directory / "module.py"
    module.write_text(code)
    path = directory / "model"
    with warnings.catch_warnings(action="ignore"):
        mlflow.pyfunc.save_model(
            str(path), python_model=str(module), pip_requirements=["mlflow"], **options
        )
    return path


def test_an_example_with_missing_values_does_not_keep_a_model_from_serving(live: Live) -> None:
    live.serve(
        live.saved.save(
            "return model_input['x'].fillna(-1.0).tolist()",
            signature=NUMBER,
            input_example=pd.DataFrame({"x": [math.nan, 2.5]}),
        )
    )
    (example,) = (
        media["example"]
        for media in live.server.get("/openapi.json")
        .json["paths"]["/invocations"]["post"]["requestBody"]["content"]
        .values()
        if "example" in media
    )
    assert example["dataframe_split"]["data"] == [[None], [2.5]]


@pytest.mark.parametrize("example", ['{"inputs": [1e999]}', '{"inputs": [%s]}' % ("9" * 400)])
def test_an_example_that_other_parsers_refuse_does_not_keep_a_model_from_serving(
    live: Live, example: str
) -> None:
    path = live.saved.save(
        "return ['fine'] * len(model_input)", signature=None, input_example=["text"]
    )
    (path / "serving_input_example.json").write_text(example)
    live.serve(path)


def test_why_a_model_fails_is_told_whatever_characters_it_says_it_in(live: Live) -> None:
    bad = live.add(
        live.saved.save(
            "return ['never'] * len(model_input)",
            load="raise RuntimeError('half an emoji: \\ud83d.')",
            input_example=None,
        )
    )
    mark = live.server.mark()
    live.promote(bad)
    failure = live.server.wait_for("reload_failed", since=mark, failed_version=f"v{bad}")
    assert failure["phase"] == "load"
    assert failure["error"] == "RuntimeError: half an emoji: \\ud83d."


def test_why_a_model_fails_is_told_when_its_error_can_t_be_printed(live: Live) -> None:
    bad = live.add(
        live.saved.save(
            "return ['never'] * len(model_input)",
            load="raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()",
            input_example=None,
        )
    )
    mark = live.server.mark()
    live.promote(bad)
    failure = live.server.wait_for("reload_failed", since=mark, failed_version=f"v{bad}")
    assert (failure["phase"], failure["error"]) == ("load", "Odd")


def test_a_chat_model_is_served(tmp_path: Path, start_server: StartServer) -> None:
    server = start_server(str(save(CHAT, tmp_path)))
    server.wait_healthy()
    answer = server.predict({"messages": [{"role": "user", "content": "hello"}]})
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "HELLO"


def test_a_model_gets_the_configuration_that_mlflow_s_server_would_give_it(
    tmp_path: Path, start_server: StartServer
) -> None:
    path = save(CONFIGURED, tmp_path, model_config={"word": "saved"})
    server = start_server(str(path), SERVING_MODEL_CONFIG=json.dumps({"word": "configured"}))
    server.wait_healthy()
    assert server.predict({"inputs": ["text"]}).json == {"predictions": ["configured"]}


def test_values_that_strict_parsers_refuse_are_replaced() -> None:
    value = {"numbers": [1.5, math.nan, math.inf, -math.inf, float("1e308")], "text": "a\ud83db é"}
    assert json.loads(strict_json.dumps(value).decode()) == {
        "numbers": [1.5, None, None, None, 1e308],
        "text": "a?b é",
    }
