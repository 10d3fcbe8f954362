"""Which models are spoken to as those of OpenAI's API are."""

from typing import Any

from mlflow.pyfunc import PyFuncModel
from mlflow.types import DataType

# What MLflow puts around a model: mlflow/pyfunc/loaders, of which not every version has all.
_INTERFACES = {
    "_ChatModelPyfuncWrapper": "chat",
    "_ChatAgentPyfuncWrapper": "agent",
    "_ResponsesAgentPyfuncWrapper": "responses",
}
# What the metadata says is their task, and that of the flavors `transformers` (mlflow/transformers/
# llm_inference_utils.py) and `openai` (mlflow/openai/model.py).
_TASKS = ("agent/", "llm/v1/chat", "llm/v1/completions")
_OPENAI_TASKS = frozenset({"chat.completions", "completions"})
# They are chains of calls to such models.
_CHAINS = frozenset({"langchain", "llama_index", "dspy", "promptflow"})


def speaks(model: PyFuncModel) -> str | None:
    """Which of MLflow's interfaces the model has: "chat" (`ChatModel`), "agent" (`ChatAgent`) or
    "responses" (`ResponsesAgent`); None for any other."""
    return _INTERFACES.get(type(model._model_impl).__name__)


def converses(model: PyFuncModel) -> bool:
    """Whether it is asked for chat, completions or responses, in whatever interface: what it does
    may cost money, or may not be for doing twice."""
    metadata: Any = model.metadata
    task = str((metadata.metadata or {}).get("task", ""))
    flavors = metadata.flavors
    return (
        speaks(model) is not None
        or task.startswith(_TASKS)
        or flavors.get("openai", {}).get("task") in _OPENAI_TASKS
        or not _CHAINS.isdisjoint(flavors)
        or _takes_messages(metadata.signature)
    )


def _takes_messages(signature: Any) -> bool:
    if signature is None or signature.inputs is None or not signature.inputs.has_input_names():
        return False
    # A column of that name may be mere text.
    return any(
        column.name == "messages" and not isinstance(column.type, DataType)
        for column in signature.inputs.inputs
    )
