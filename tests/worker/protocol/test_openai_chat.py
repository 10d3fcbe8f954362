"""Chat completions as OpenAI's clients send them and read them, for MLflow's chat models."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from server.worker.codecs import OPENAI_CHAT
from server.worker.protocol import EncodingError, InvalidInput, ModelError, Protocol, openai
from tests.worker.protocol.conftest import Speaking

HI = {"role": "user", "content": "hi"}
CALL = {"id": "call-1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def body(**fields: Any) -> bytes:
    """A request's body."""
    return json.dumps({"model": "gpt", "messages": [HI], **fields}).encode()


@pytest.fixture(scope="module", params=["chat", "agent"])
def protocol(request: pytest.FixtureRequest, speaking: Speaking) -> Protocol:
    """The protocol of a ChatModel, and of a ChatAgent."""
    return speaking(request.param)


@pytest.fixture(scope="module")
def chat(speaking: Speaking) -> Protocol:
    """The protocol of a ChatModel."""
    return speaking("chat")


@pytest.fixture(scope="module")
def agent(speaking: Speaking) -> Protocol:
    """The protocol of a ChatAgent."""
    return speaking("agent")


def ask(protocol: Protocol, **fields: Any) -> Any:
    """What is answered."""
    request = protocol.parse(OPENAI_CHAT.decode(), body(**fields))
    return json.loads(protocol.encode(request, protocol.predict(request)))


def heard(protocol: Protocol, **fields: Any) -> Any:
    """What comes to the model."""
    return json.loads(ask(protocol, **fields)["choices"][0]["message"]["content"])


def test_an_answer_has_what_openais_have(protocol: Protocol) -> None:
    answer = ask(protocol)
    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    assert isinstance(answer["created"], int)
    assert answer["model"] == "gpt"
    assert answer["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    (choice,) = answer["choices"]
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert choice["message"]["role"] == "assistant"
    assert ask(protocol)["id"] != answer["id"]


UNKNOWN = {
    "user": "somebody",
    "store": True,
    "metadata": {"a": "b"},
    "stream_options": {"include_usage": True},
    "logit_bias": {"1": 2},
    "response_format": {"type": "text"},
    "service_tier": "auto",
    "temperature": None,
    "tools": None,
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_mlflow_does_not_know_is_left_out(protocol: Protocol, name: str) -> None:
    assert heard(protocol, **{name: UNKNOWN[name]}) == heard(protocol)


def test_the_name_of_the_model_may_be_anything(protocol: Protocol) -> None:
    assert ask(protocol, model=None)["model"] == ""
    assert ask(protocol, model=7)["model"] == ""


def test_parts_of_text_are_joined(protocol: Protocol) -> None:
    parts = [{"type": "text", "text": text} for text in ("hi", "you")]
    said = heard(protocol, messages=[{"role": "user", "content": parts}])
    assert said["messages"] == [{"role": "user", "content": "hi\nyou"}]


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


def test_other_parts_are_for_models_that_take_them(chat: Protocol, agent: Protocol) -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "hi"}, IMAGE]}
    assert heard(chat, messages=[message])["messages"] == [message]
    with pytest.raises(InvalidInput, match=r"messages\[0\]\.content: this model takes .* 'text'"):
        ask(agent, messages=[message])


def test_what_a_client_sends_back_is_understood(protocol: Protocol) -> None:
    # As `message.model_dump()` writes it, and a tool's answer without the tool's name.
    calls = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [CALL]}
    found = {"role": "tool", "tool_call_id": "call-1", "content": "found"}
    said = heard(protocol, messages=[HI, calls, found])["messages"]
    assert said == [
        HI,
        {"role": "assistant", "tool_calls": [CALL]},
        {**found, "name": "look"},
    ]


def test_parameters_come_in_mlflows_types(chat: Protocol) -> None:
    said = heard(chat, temperature=0, top_p=1, stop="x", max_completion_tokens=5, n=1)["params"]
    assert said["temperature"] == 0.0
    assert {name: said[name] for name in ("top_p", "stop", "max_tokens")} == {
        "top_p": 1.0,
        "stop": ["x"],
        "max_tokens": 5,
    }


def test_tools_come_to_a_model_that_takes_them(chat: Protocol) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "title": "A"}}, "$defs": {}}
    function = {"name": "look", "parameters": schema, "strict": None}
    (tool,) = heard(chat, tools=[{"type": "function", "function": function}])["params"]["tools"]
    assert tool["function"]["name"] == "look"
    assert tool["function"]["parameters"]["properties"] == {"a": {"type": "string"}}


def test_custom_inputs_come_to_the_model(agent: Protocol) -> None:
    assert heard(agent, custom_inputs={"a": [1, None]})["custom_inputs"] == {"a": [1, None]}


def test_the_same_request_may_be_asked_again(protocol: Protocol) -> None:
    request = protocol.parse(OPENAI_CHAT.decode(), body())
    assert protocol.predict(request)["usage"] == protocol.predict(request)["usage"]


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"[]", "body must be a JSON object; it is a list"),
        (b"{", "body is not valid JSON"),
        (b'{"model": "gpt"}', "'messages' must be a list of objects, each with a 'role'"),
        (b'{"messages": []}', "'messages' must be a list"),
        (b'{"messages": ["hi"]}', "'messages' must be a list"),
        (b'{"messages": [{"content": "hi"}]}', "'messages' must be a list"),
        (b'{"messages": [{"role": "user", "content": %b1%b}]}' % (b"[" * 990, b"]" * 990), "deep"),
    ],
)
def test_what_is_no_request_is_refused(protocol: Protocol, sent: bytes, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        protocol.parse(OPENAI_CHAT.decode(), sent)
    assert caught.value.status == 400


def test_what_the_model_raises_is_its_own(protocol: Protocol) -> None:
    with pytest.raises(ModelError, match="it does not like that"):
        ask(protocol, messages=[{"role": "user", "content": "raise"}])


def test_tool_calls_are_the_reason_to_finish(chat: Protocol) -> None:
    answer = ask(chat, messages=[{"role": "user", "content": "call a tool"}])
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {"role": "assistant", "content": None, "tool_calls": [CALL]}


def test_the_last_message_of_an_agent_is_the_answer(agent: Protocol) -> None:
    answer = ask(agent, messages=[{"role": "user", "content": "call a tool"}])
    (choice,) = answer["choices"]
    assert (choice["index"], choice["message"]["role"]) == (0, "assistant")
    assert (choice["message"].get("tool_calls"), choice["finish_reason"]) == (None, "stop")
    assert [message["role"] for message in answer["messages"]] == ["assistant", "tool", "assistant"]


@pytest.mark.parametrize("answer", [None, "text", {}, {"choices": ["text"]}, {"messages": 1}])
def test_an_answer_of_another_shape_is_told_as_such(protocol: Protocol, answer: Any) -> None:
    request = protocol.parse(OPENAI_CHAT.decode(), body())
    with pytest.raises(EncodingError, match="model's answer is none that OpenAI has"):
        protocol.encode(request, answer)
    with pytest.raises(EncodingError, match="model's answer is none that OpenAI has"):
        [*openai.stream(request, iter([answer]))]


def streamed(protocol: Protocol, chunks: Iterator[Any]) -> list[Any]:
    """The chunks that a client gets."""
    request = protocol.parse(OPENAI_CHAT.decode(), body(stream=True))
    return [*openai.stream(request, chunks)]


def words(chunks: list[Any]) -> list[str]:
    """The words of all choices."""
    return [
        c["delta"]["content"]
        for chunk in chunks
        for c in chunk["choices"]
        if "content" in c["delta"]
    ]


def test_chunks_are_of_one_completion(chat: Protocol) -> None:
    sent = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": word}}], "created": at}
        for at, word in enumerate(["one ", "two"], start=7)
    ]
    chunks = streamed(chat, iter(sent))
    assert words(chunks) == ["one ", "two"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {(chunk["created"], chunk["model"]) for chunk in chunks} == {(7, "gpt")}
    assert len({chunk["id"] for chunk in chunks}) == 1
    # The model did not say that it had finished.
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop"]


def test_a_stream_that_says_so_itself_is_left_as_it_is(chat: Protocol) -> None:
    usage = {"prompt_tokens": 1}
    sent = [
        {"id": "its own", "choices": [{"index": 0, "delta": {"content": "one"}}]},
        {"id": "its own", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]},
        {"id": "its own", "choices": [], "usage": usage},
    ]
    chunks = streamed(chat, iter(sent))
    assert [chunk["id"] for chunk in chunks] == ["its own"] * 3
    assert [c["finish_reason"] for chunk in chunks for c in chunk["choices"]] == [None, "length"]
    assert chunks[-1]["usage"] == usage


def test_tool_calls_in_a_stream_are_told_apart(chat: Protocol) -> None:
    second = {**CALL, "id": "call-2"}
    deltas = [{"tool_calls": [CALL]}, {"tool_calls": [second]}, {"tool_calls": [CALL]}]
    chunks = streamed(chat, ({"choices": [{"delta": delta}]} for delta in deltas))
    calls = [c["delta"].get("tool_calls") for chunk in chunks for c in chunk["choices"]]
    assert [call[0]["index"] for call in calls if call] == [0, 1, 0]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_each_message_of_an_agent_is_a_choice(agent: Protocol) -> None:
    deltas = [
        {"role": "assistant", "content": "", "id": "1", "tool_calls": [CALL]},
        {"role": "tool", "content": "found", "id": "2", "name": "look", "tool_call_id": "call-1"},
        {"role": "assistant", "content": "one ", "id": "3"},
        {"role": "assistant", "content": "two", "id": "3"},
    ]
    *chunks, end = streamed(agent, ({"delta": delta} for delta in deltas))
    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 1, 2, 2]
    assert words(chunks) == ["", "found", "one ", "two"]
    reasons = {choice["index"]: choice["finish_reason"] for choice in end["choices"]}
    assert reasons == {0: "tool_calls", 1: "stop", 2: "stop"}


def test_a_stream_without_a_chunk_ends_all_the_same(protocol: Protocol) -> None:
    (chunk,) = streamed(protocol, iter([]))
    assert chunk["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]


def test_chunks_go_out_as_they_come(chat: Protocol) -> None:
    taken = []

    def chunks() -> Iterator[Any]:
        for number in range(3):
            taken.append(number)
            yield {"choices": [{"delta": {"content": "one"}}]}

    request = chat.parse(OPENAI_CHAT.decode(), body(stream=True))
    stream = openai.stream(request, chunks())
    next(stream)
    assert taken == [0]


def test_what_the_model_raises_in_a_stream_is_its_own(chat: Protocol) -> None:
    def chunks() -> Iterator[Any]:
        yield {"choices": [{"delta": {"content": "one"}}]}
        raise ModelError(ValueError("it does not like that"))

    request = chat.parse(OPENAI_CHAT.decode(), body(stream=True))
    stream = openai.stream(request, chunks())
    assert next(stream)["choices"][0]["delta"] == {"content": "one"}
    with pytest.raises(ModelError, match="it does not like that"):
        next(stream)


def test_a_model_of_another_kind_says_so_where_the_gateway_has_not(speaking: Speaking) -> None:
    # Another version may have come to serve since the gateway has looked.
    with pytest.raises(InvalidInput, match="is a ResponsesAgent: use /v1/responses") as caught:
        speaking("responses").parse(OPENAI_CHAT.decode(), body())
    assert (caught.value.status, caught.value.code) == (404, "ENDPOINT_NOT_FOUND")
