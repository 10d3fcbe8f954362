"""What OpenAI's own client makes of a server: run in an environment of its own, which has the
package and nothing of the tests.

    python openai_client.py BASE_URL API_KEY KIND

It prints a JSON object with what came of each call.
"""

import asyncio
import json
import sys
from typing import Any

import openai
from openai.types.chat import ChatCompletionMessage

ADDRESS, KEY, KIND = sys.argv[1:]
MODEL = "any"


def user(text: str) -> list[Any]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


def options(key: str = KEY) -> dict[str, Any]:
    """Those of each client."""
    return {"base_url": ADDRESS, "api_key": key, "max_retries": 0, "timeout": 60}


def failure(call: Any) -> dict[str, Any]:
    """What a call raises."""
    try:
        call()
    except openai.APIError as error:
        return {"type": type(error).__name__, "message": error.message, "code": error.code}
    return {"type": None}


def chat(client: openai.OpenAI) -> dict[str, Any]:
    """Chat completions."""
    create = client.chat.completions.create
    plain = create(model=MODEL, messages=user("hi"), temperature=0, user="me", max_tokens=5)
    parts = create(
        model=MODEL,
        messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        extra_body={"custom_inputs": {"a": 1}},
    )
    completion = create(model=MODEL, messages=user("call a tool"))
    # Those that an agent has called itself stand beside its answer.
    steps = (completion.model_extra or {}).get("messages")
    calling = completion.choices[0].message
    if steps:
        calling = ChatCompletionMessage.model_validate(steps[0])
    assert calling.tool_calls is not None
    (call,) = calling.tool_calls
    found = {"role": "tool", "tool_call_id": call.id, "content": "found"}
    after = create(model=MODEL, messages=[*user("hi"), calling.model_dump(), found])
    chunks = [*create(model=MODEL, messages=user("hi"), stream=True)]
    with client.chat.completions.stream(model=MODEL, messages=user("hi")) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()

    def later() -> None:
        stream = create(model=MODEL, messages=user("raise later"), stream=True)
        words.extend(chunk.choices[0].delta.content for chunk in stream)

    words: list[str | None] = []
    return {
        "plain": plain.model_dump(),
        "parts": parts.choices[0].message.content,
        "tool": call.model_dump(),
        "after": after.choices[0].message.content,
        "streamed": [chunk.choices[0].delta.content for chunk in chunks],
        "ids": len({chunk.id for chunk in chunks}),
        "reason": chunks[-1].choices[0].finish_reason,
        "events": events,
        "final": final.choices[0].message.content,
        "refused": failure(lambda: create(model=MODEL, messages=user("raise"))),
        "broken": failure(later),
        "before it broke": words,
        "wrong kind": failure(lambda: client.responses.create(model=MODEL, input="hi")),
        "wrong key": failure(
            lambda: openai.OpenAI(**options("wrong")).chat.completions.create(
                model=MODEL, messages=user("hi")
            )
        ),
    }


async def chat_async(client: openai.AsyncOpenAI) -> dict[str, Any]:
    """The same with the other client."""
    plain = await client.chat.completions.create(model=MODEL, messages=user("hi"))
    stream = await client.chat.completions.create(model=MODEL, messages=user("hi"), stream=True)
    streamed = [chunk.choices[0].delta.content async for chunk in stream]
    return {"plain": plain.choices[0].message.content, "streamed": streamed}


def responses(client: openai.OpenAI) -> dict[str, Any]:
    """Responses."""
    create = client.responses.create
    tool: Any = {"type": "function", "name": "look", "parameters": {}, "strict": False}
    plain = create(model=MODEL, input="hi", instructions="be brief", tools=[tool], store=False)
    (call,) = create(model=MODEL, input="call a tool").output
    assert call.type == "function_call"
    found = {"type": "function_call_output", "call_id": call.call_id, "output": "found"}
    after = create(model=MODEL, input=[*user("hi"), call.model_dump(), found])
    events = [*create(model=MODEL, input="hi", stream=True)]
    with client.responses.stream(model=MODEL, input="hi") as stream:
        snapshots = [e.snapshot for e in stream if e.type == "response.output_text.delta"]
        final = stream.get_final_response()

    def later() -> None:
        stream = create(model=MODEL, input="raise later", stream=True)
        words.extend(e.delta for e in stream if e.type == "response.output_text.delta")

    words: list[str] = []
    return {
        "plain": plain.model_dump(),
        "text": plain.output_text,
        "tool": call.model_dump(),
        "after": after.output_text,
        "streamed": [e.delta for e in events if e.type == "response.output_text.delta"],
        "events": [event.type for event in events],
        "numbers": [event.sequence_number for event in events],
        "snapshots": snapshots,
        "final": final.output_text,
        "refused": failure(lambda: create(model=MODEL, input="raise")),
        "broken": failure(later),
        "before it broke": words,
        "wrong kind": failure(
            lambda: client.chat.completions.create(model=MODEL, messages=user("hi"))
        ),
        "wrong key": failure(
            lambda: openai.OpenAI(**options("wrong")).responses.create(model=MODEL, input="hi")
        ),
    }


async def responses_async(client: openai.AsyncOpenAI) -> dict[str, Any]:
    """The same with the other client."""
    plain = await client.responses.create(model=MODEL, input="hi")
    stream = await client.responses.create(model=MODEL, input="hi", stream=True)
    streamed = [e.delta async for e in stream if e.type == "response.output_text.delta"]
    return {"plain": plain.output_text, "streamed": streamed}


async def asynchronous() -> dict[str, Any]:
    """What the asynchronous client makes of it."""
    async with openai.AsyncOpenAI(**options()) as client:
        return await (responses_async if KIND == "responses" else chat_async)(client)


def main() -> None:
    """Call, and print what came of it."""
    with openai.OpenAI(**options()) as client:
        made = (responses if KIND == "responses" else chat)(client)
        listed = [model.id for model in client.models.list()]
        made["models"] = [client.models.retrieve(name).id for name in listed]
    made["async"] = asyncio.run(asynchronous())
    print(json.dumps(made))


if __name__ == "__main__":
    main()
