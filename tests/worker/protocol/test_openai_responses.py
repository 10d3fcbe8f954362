"""Responses as OpenAI's clients ask for them and read them, for MLflow's `ResponsesAgent`."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from server.worker.codecs import OPENAI_RESPONSES
from server.worker.protocol import EncodingError, InvalidInput, ModelError, Protocol, openai
from tests.worker.protocol.conftest import Speaking

HI = {"type": "message", "role": "user", "content": "hi"}
ITEM = {
    "type": "message",
    "id": "item-1",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "one two"}],
}
CALL = {
    "type": "function_call",
    "id": "item-1",
    "call_id": "call-1",
    "name": "look",
    "arguments": "",
}


@pytest.fixture(scope="module")
def protocol(speaking: Speaking) -> Protocol:
    """The protocol of a ResponsesAgent."""
    return speaking("responses")


def body(**fields: Any) -> bytes:
    """A request's body."""
    return json.dumps({"model": "gpt", "input": "hi", **fields}).encode()


def ask(protocol: Protocol, **fields: Any) -> Any:
    """What is answered."""
    request = protocol.parse(OPENAI_RESPONSES.decode(), body(**fields))
    return json.loads(protocol.encode(request, protocol.predict(request)))


def heard(protocol: Protocol, **fields: Any) -> Any:
    """What comes to the model."""
    return json.loads(ask(protocol, **fields)["output"][0]["content"][0]["text"])


def test_an_answer_has_what_openais_have(protocol: Protocol) -> None:
    answer = ask(protocol)
    assert answer["id"].startswith("resp_")
    assert (answer["object"], answer["status"], answer["model"]) == ("response", "completed", "gpt")
    assert isinstance(answer["created_at"], int)
    assert answer["usage"]["total_tokens"] == 3
    assert {"parallel_tool_calls", "tool_choice", "tools", "error"} <= answer.keys()
    (item,) = answer["output"]
    assert (item["status"], item["role"]) == ("completed", "assistant")
    assert item["content"][0]["annotations"] == []


def test_a_text_becomes_a_message(protocol: Protocol) -> None:
    assert heard(protocol)["input"] == [HI]
    assert heard(protocol, input=[{"role": "user", "content": "hi"}])["input"] == [HI]


def test_instructions_become_the_first_message(protocol: Protocol) -> None:
    first = {"type": "message", "role": "system", "content": "be brief"}
    assert heard(protocol, instructions="be brief")["input"] == [first, HI]


def test_what_was_answered_may_be_sent_back(protocol: Protocol) -> None:
    (item,) = ask(protocol, input="call a tool")["output"]
    assert item["type"] == "function_call"
    found = {"type": "function_call_output", "call_id": item["call_id"], "output": "found"}
    short = {"role": "assistant", "content": [{"type": "output_text", "text": "x"}]}
    said = heard(protocol, input=[HI, item, found, short, ITEM])["input"]
    assert [one["type"] for one in said] == [
        *("message", "function_call", "function_call_output", "message", "message")
    ]


UNKNOWN = {"include": [], "service_tier": "auto", "max_tool_calls": 3, "temperature": None}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_mlflow_does_not_know_is_left_out(protocol: Protocol, name: str) -> None:
    assert heard(protocol, **{name: UNKNOWN[name]}) == heard(protocol)


def test_what_mlflow_knows_comes_to_the_model(protocol: Protocol) -> None:
    # MLflow's own schema for such models refuses a tool with a name.
    tool = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": None}
    said = heard(protocol, temperature=1, tools=[tool], user="me", custom_inputs={"a": 1})
    assert (said["temperature"], said["user"], said["custom_inputs"]) == (1.0, "me", {"a": 1})
    assert said["tools"][0]["name"] == "look"


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"7", "body must be a JSON object; it is a number"),
        (b"{}", "'input' must be a string or a list of objects"),
        (b'{"input": []}', "'input' must be"),
        (b'{"input": ["hi"]}', "'input' must be"),
        (b'{"input": "hi", "previous_response_id": "a"}', "'previous_response_id' could name"),
        (b'{"input": "hi", "conversation": "a"}', "'conversation' could name"),
    ],
)
def test_what_is_no_request_is_refused(protocol: Protocol, sent: bytes, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        protocol.parse(OPENAI_RESPONSES.decode(), sent)


@pytest.mark.parametrize(
    "answer", [None, {}, {"output": ["text"]}, {"type": "response.created", "response": 1}]
)
def test_an_answer_of_another_shape_is_told_as_such(protocol: Protocol, answer: Any) -> None:
    request = protocol.parse(OPENAI_RESPONSES.decode(), body())
    with pytest.raises(EncodingError, match="model's answer is none that OpenAI has"):
        protocol.encode(request, answer)
    with pytest.raises(EncodingError, match="model's answer is none that OpenAI has"):
        [*openai.stream(request, iter([answer]))]


def streamed(protocol: Protocol, *events: Any) -> list[Any]:
    """The events that a client gets."""
    request = protocol.parse(OPENAI_RESPONSES.decode(), body(stream=True))
    sent = [*openai.stream(request, iter(events))]
    assert [event["sequence_number"] for event in sent] == [*range(len(sent))]
    return sent


def types(events: list[Any]) -> list[str]:
    """What the events are, in short."""
    return [event["type"].removeprefix("response.") for event in events]


def delta(text: str, item: str = "item-1") -> dict[str, Any]:
    """A piece of text, as MLflow's helper makes it."""
    return {"type": "response.output_text.delta", "item_id": item, "delta": text}


def done(item: dict[str, Any]) -> dict[str, Any]:
    """An item that is done."""
    return {"type": "response.output_item.done", "item": item}


WHOLE = [
    *("created", "output_item.added", "content_part.added", "output_text.delta"),
    *("output_text.delta", "output_text.done", "content_part.done", "output_item.done"),
    "completed",
]


@pytest.mark.parametrize("ends", [[done(ITEM)], []])
def test_a_stream_is_framed_as_openais(protocol: Protocol, ends: list[Any]) -> None:
    events = streamed(protocol, delta("one "), delta("two"), *ends)
    assert types(events) == WHOLE
    first, last = events[0]["response"], events[-1]["response"]
    assert (first["status"], last["status"]) == ("in_progress", "completed")
    assert first["id"] == last["id"]
    assert first["output"] == []
    (item,) = last["output"]
    assert item["content"] == [{"type": "output_text", "text": "one two", "annotations": []}]
    assert {event["output_index"] for event in events[1:-1]} == {0}
    assert {event["content_index"] for event in events[2:-2]} == {0}


def test_what_the_model_frames_itself_is_left_as_it_is(protocol: Protocol) -> None:
    text = {"type": "output_text", "text": ""}
    own = {"id": "resp-1", "object": "response", "output": [], "model": "its own"}
    events = streamed(
        protocol,
        {"type": "response.created", "response": own, "sequence_number": 5},
        {"type": "response.in_progress", "response": own},
        {"type": "response.output_item.added", "item": {**ITEM, "content": []}, "output_index": 0},
        {"type": "response.content_part.added", "item_id": "item-1", "part": text},
        delta("one two"),
        done(ITEM),
        {"type": "response.completed", "response": {**own, "output": [ITEM], "usage": {"a": 1}}},
    )
    assert types(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_item.done", "completed"),
    ]
    last = events[-1]["response"]
    assert (last["id"], last["model"], last["usage"]) == ("resp-1", "its own", {"a": 1})
    assert [item["id"] for item in last["output"]] == ["item-1"]


def test_items_of_one_id_are_told_apart_by_their_kind(protocol: Protocol) -> None:
    events = streamed(
        protocol, delta("one two"), done(ITEM), done(CALL), done({**CALL, "call_id": "2"})
    )
    places = [event["output_index"] for event in events if event["type"].endswith("item.done")]
    assert places == [0, 1, 2]
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "function_call"]


@pytest.mark.parametrize("identifier", ["item-1", "item-2"])
def test_a_piece_belongs_where_its_item_stands(protocol: Protocol, identifier: str) -> None:
    call = {**CALL, "id": identifier}
    arguments = {"type": "response.function_call_arguments.delta", "item_id": identifier}
    events = streamed(
        protocol,
        delta("one two"),
        {"type": "response.output_item.added", "item": call},
        {**arguments, "delta": "{"},
        done(call),
        done(ITEM),
    )
    places = {event["type"]: event["output_index"] for event in events[1:-1]}
    assert places["response.function_call_arguments.delta"] == 1
    assert places["response.output_text.delta"] == 0


@pytest.mark.parametrize("status", ["failed", "incomplete"])
def test_a_response_that_did_not_succeed_is_not_completed(protocol: Protocol, status: str) -> None:
    failed = {"error": {"code": "server_error", "message": "no"}}
    events = streamed(protocol, {"type": f"response.{status}", "response": failed})
    assert types(events) == ["created", status]
    assert events[-1]["response"]["status"] == status
    assert events[-1]["response"]["error"] == failed["error"]


def test_nothing_follows_an_error_of_the_models(protocol: Protocol) -> None:
    events = streamed(protocol, {"type": "error", "message": "no"})
    assert types(events) == ["created", "error"]


def test_events_that_are_not_known_go_through(protocol: Protocol) -> None:
    events = streamed(protocol, done(ITEM), {"type": "response.refusal.done", "item_id": "item-1"})
    assert types(events) == [
        *("created", "output_item.added", "output_item.done", "refusal.done", "completed")
    ]
    assert events[3]["output_index"] == 0


def test_a_stream_without_an_event_is_a_response_all_the_same(protocol: Protocol) -> None:
    assert types(streamed(protocol)) == ["created", "completed"]


def test_what_the_model_raises_in_a_stream_is_its_own(protocol: Protocol) -> None:
    def events() -> Iterator[Any]:
        yield delta("one")
        raise ModelError(ValueError("it does not like that"))

    request = protocol.parse(OPENAI_RESPONSES.decode(), body(stream=True))
    stream = openai.stream(request, events())
    assert types([next(stream) for _ in range(4)]) == WHOLE[:4]
    with pytest.raises(ModelError, match="it does not like that"):
        next(stream)
