"""Models that speak chat and responses, written as code like those of `tests.support.models`.

Each answers with what it was asked, so that a test sees what came through. Its last message says
what it does besides: "raise", "raise later" (in a stream), or "call a tool".
"""

import uuid
import warnings
from pathlib import Path
from typing import Any

import mlflow.pyfunc

_CHAT_MODEL = """
import json
from mlflow.models import set_model
from mlflow.pyfunc import ChatModel
from mlflow.types.llm import (
    ChatChoice, ChatChoiceDelta, ChatChunkChoice, ChatCompletionChunk, ChatCompletionResponse,
    ChatMessage, FunctionToolCallArguments, TokenUsageStats,
)

USAGE = TokenUsageStats(prompt_tokens=1, completion_tokens=2, total_tokens=3)


def call():
    return FunctionToolCallArguments(name="look", arguments="{}").to_tool_call(id="call-1")


class Model(ChatModel):
    def predict(self, context, messages, params):
        last = messages[-1].content
        if last == "raise":
            raise ValueError("it does not like that")
        if last == "call a tool":
            message = ChatMessage(role="assistant", tool_calls=[call()])
            return ChatCompletionResponse(
                choices=[ChatChoice(message=message, finish_reason="tool_calls")], usage=USAGE
            )
        said = {"messages": [m.to_dict() for m in messages], "params": params.to_dict()}
        message = ChatMessage(role="assistant", content=json.dumps(said))
        return ChatCompletionResponse(choices=[ChatChoice(message=message)], usage=USAGE)

    def predict_stream(self, context, messages, params):
        last = messages[-1].content
        if last == "raise":
            raise ValueError("it does not like that")
        if last == "call a tool":
            delta = ChatChoiceDelta(tool_calls=[call()])
            yield ChatCompletionChunk(choices=[ChatChunkChoice(delta=delta)])
            return
        for word in ("one ", "two ", "three"):
            delta = ChatChoiceDelta(content=word)
            yield ChatCompletionChunk(choices=[ChatChunkChoice(delta=delta)])
            if last == "raise later":
                raise ValueError("it does not like that any more")
        delta = ChatChoiceDelta(content=None)
        last = ChatChunkChoice(delta=delta, finish_reason="stop")
        yield ChatCompletionChunk(choices=[last], usage=USAGE)


set_model(Model())
"""

_CHAT_AGENT = """
import json
from mlflow.models import set_model
from mlflow.pyfunc import ChatAgent
from mlflow.types.agent import ChatAgentChunk, ChatAgentMessage, ChatAgentResponse
from mlflow.types.chat import ChatUsage

USAGE = ChatUsage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
CALL = {"id": "call-1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": "", "id": "1", "tool_calls": [CALL]}
FOUND = {"role": "tool", "content": "found", "id": "2", "name": "look", "tool_call_id": "call-1"}


class Model(ChatAgent):
    def predict(self, messages, context=None, custom_inputs=None):
        last = messages[-1].content
        if last == "raise":
            raise ValueError("it does not like that")
        said = {
            "messages": [m.model_dump(exclude_none=True) for m in messages],
            "custom_inputs": custom_inputs,
        }
        answer = {"role": "assistant", "content": json.dumps(said), "id": "3"}
        steps = [CALLS, FOUND] if last == "call a tool" else []
        messages = [ChatAgentMessage(**message) for message in (*steps, answer)]
        return ChatAgentResponse(messages=messages, usage=USAGE)

    def predict_stream(self, messages, context=None, custom_inputs=None):
        last = messages[-1].content
        if last == "call a tool":
            for step in (CALLS, FOUND):
                yield ChatAgentChunk(delta=ChatAgentMessage(**step))
        for word in ("one ", "two ", "three"):
            delta = ChatAgentMessage(role="assistant", content=word, id="3")
            yield ChatAgentChunk(delta=delta)
            if last == "raise later":
                raise ValueError("it does not like that any more")
        delta = ChatAgentMessage(role="assistant", content="", id="3")
        yield ChatAgentChunk(delta=delta, finish_reason="stop", usage=USAGE)


set_model(Model())
"""

_RESPONSES_AGENT = """
import json
from mlflow.models import set_model
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import ResponsesAgentResponse, ResponsesAgentStreamEvent

USAGE = {
    "input_tokens": 1,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 2,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 3,
}


def said_last(request):
    content = getattr(request.input[-1], "content", None)
    return content if isinstance(content, str) else ""


class Model(ResponsesAgent):
    def predict(self, request):
        last = said_last(request)
        if last == "raise":
            raise ValueError("it does not like that")
        if last == "call a tool":
            item = self.create_function_call_item("item-1", "call-1", "look", "{}")
        else:
            text = json.dumps(request.model_dump(exclude_none=True))
            item = self.create_text_output_item(text, "item-1")
        return ResponsesAgentResponse(output=[item], usage=USAGE)

    def predict_stream(self, request):
        last = said_last(request)
        if last == "raise":
            raise ValueError("it does not like that")
        for word in ("one ", "two ", "three"):
            yield ResponsesAgentStreamEvent(**self.create_text_delta(word, "item-1"))
            if last == "raise later":
                raise ValueError("it does not like that any more")
        item = self.create_text_output_item("one two three", "item-1")
        yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item)


set_model(Model())
"""

_CODE = {"chat": _CHAT_MODEL, "agent": _CHAT_AGENT, "responses": _RESPONSES_AGENT}


def save_speaking(directory: Path, speaks: str, **options: Any) -> Path:
    """Save a model that speaks `chat` (a ChatModel), `agent` (a ChatAgent) or `responses`.

    Args:
        directory: Where to make a directory for it.
        speaks: See above.
        options: More for `mlflow.pyfunc.save_model`.

    Returns:
        The path of the saved model.
    """
    name = uuid.uuid4().hex
    code = directory / f"{name}.py"
    code.write_text(_CODE[speaks])
    path = directory / name
    with warnings.catch_warnings():
        # What MLflow warns of while it saves is not what is tested.
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            str(path), python_model=str(code), pip_requirements=["mlflow"], **options
        )
    return path
