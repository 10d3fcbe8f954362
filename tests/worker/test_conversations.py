"""Which models are asked for chat, completions or responses."""

import warnings
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pytest
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import PyFuncModel
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.llm import CHAT_MODEL_INPUT_SCHEMA

from server.worker.conversations import converses, speaks


class Implementation:
    """What MLflow puts a `PyFuncModel` around."""

    def predict(self, data: Any) -> Any:
        return data


def model(
    *,
    metadata: dict[str, Any] | None = None,
    flavors: dict[str, Any] | None = None,
    inputs: Schema | None = None,
) -> PyFuncModel:
    """A model that says this of itself."""
    python = {"python_function": {"loader_module": "mlflow.pyfunc.model"}}
    signature = ModelSignature(inputs=inputs) if inputs is not None else None
    meta: Any = Model(flavors=python | (flavors or {}), metadata=metadata, signature=signature)
    return PyFuncModel(meta, Implementation())


@pytest.mark.parametrize(
    "said",
    [
        {"metadata": {"task": "agent/v2/chat"}},
        {"metadata": {"task": "llm/v1/chat"}},
        {"metadata": {"task": "llm/v1/completions"}},
        {"flavors": {"openai": {"task": "chat.completions"}}},
        {"flavors": {"langchain": {}}},
        {"inputs": CHAT_MODEL_INPUT_SCHEMA},
    ],
)
def test_a_model_is_known_by_what_mlflow_says_of_it(said: dict[str, Any]) -> None:
    assert converses(model(**said))
    # None of the three that have a route of their own.
    assert speaks(model(**said)) is None


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"metadata": {"task": "llm/v1/embeddings"}},
        {"metadata": {"task": None}},
        {"flavors": {"openai": {"task": "embeddings"}}},
        {"flavors": {"sklearn": {}}},
        {"inputs": Schema([ColSpec(DataType.string, "messages")])},
        {"inputs": Schema([ColSpec(DataType.string)])},
    ],
)
def test_any_other_does_not_converse(said: dict[str, Any]) -> None:
    assert not converses(model(**said))


CODE = """
from mlflow.models import set_model
from mlflow.pyfunc import {kind}
from mlflow.types.agent import ChatAgentMessage, ChatAgentResponse
from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage
from mlflow.types.responses import ResponsesAgentResponse

class Model({kind}):
    def predict(self, *_, **__):
        return {answer}

set_model(Model())
"""


@pytest.mark.parametrize(
    ("kind", "answer", "spoken"),
    [
        (
            "ChatModel",
            "ChatCompletionResponse([ChatChoice(ChatMessage(role='assistant', content='a'))])",
            "chat",
        ),
        (
            "ChatAgent",
            "ChatAgentResponse(messages=[ChatAgentMessage(role='user', content='a', id='1')])",
            "agent",
        ),
        ("ResponsesAgent", "ResponsesAgentResponse(output=[])", "responses"),
    ],
)
def test_what_a_model_speaks_is_told_by_its_class(
    tmp_path: Path, kind: str, answer: str, spoken: str
) -> None:
    code = tmp_path / "code.py"
    code.write_text(CODE.format(kind=kind, answer=answer))
    with warnings.catch_warnings(action="ignore"):
        mlflow.pyfunc.save_model(tmp_path / "model", python_model=str(code), pip_requirements=[])
        loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert speaks(loaded) == spoken
    assert converses(loaded)
