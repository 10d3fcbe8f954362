"""Models that wait and stream: they do what the text of a request tells them, as JSON."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tests.support.gateway import Client
from tests.support.models import SavedModels, synchronous
from tests.support.waiting import eventually

_PREAMBLE = """
import asyncio, json, os, pathlib, threading, time

WORD = {word!r}
WAIT = {wait!r}
lock = threading.Lock()

class Count:
    now = most = predicted = cancelled = opened = closed = made = 0

def count(**changes):
    with lock:
        for name, change in changes.items():
            setattr(Count, name, getattr(Count, name) + change)
        Count.most = max(Count.most, Count.now)

def told(text):
    return json.loads(text) if text.startswith("{{") else {{"sleep": WAIT}}

def state():
    with lock:
        return json.dumps({{
            "pid": os.getpid(),
            "now": Count.now,
            "most": Count.most,
            "predicted": Count.predicted,
            "cancelled": Count.cancelled,
            "open": Count.opened - Count.closed,
            "closed": Count.closed,
            "made": Count.made,
            "threads": len(os.listdir("/proc/self/task")),
            # But for that of the list itself.
            "files": len(os.listdir("/proc/self/fd")) - 1,
        }})

async def step(plan, number):
    await asyncio.sleep(plan.get("sleep", 0))
    if plan.get("gate_at", 0) == number:
        while "gate" in plan and not pathlib.Path(plan["gate"]).exists():
            await asyncio.sleep(0.005)
    if plan.get("fail_at") == number:
        raise ValueError(plan.get("with", "as told"))
    if plan.get("die_at") == number:
        os._exit(3)
    if plan.get("hang_at") == number:
        while True:
            await asyncio.sleep(1)

def chunk(plan, number):
    if plan.get("odd_at") == number:
        return object()
    if "chunks" in plan and isinstance(plan["chunks"], list):
        return plan["chunks"][number]
    return {{
        "number": number,
        "word": WORD,
        "echo": plan.get("echo"),
        "text": "x" * plan.get("size", 0),
    }}
"""
_PREDICT = """
answers = []
for text in model_input["text"]:
    plan = told(text)
    if plan.get("state"):
        answers.append(state())
        Count.most = Count.now
        continue
    count(now=1)
    try:
        await step(plan, 0)
    except asyncio.CancelledError:
        count(cancelled=1)
        raise
    finally:
        count(now=-1, predicted=1)
    answers.append(plan.get("echo", WORD))
return answers
"""
_STREAM = """
plan = told(model_input["text"])
count(opened=1)
try:
    chunks = plan.get("chunks", 3)
    total = chunks if isinstance(chunks, int) else len(chunks)
    for number in range(total):
        await step(plan, number)
        made = chunk(plan, number)
        count(made=1)
        yield made
    await step(plan, total)
finally:
    count(closed=1)
"""


def save_waiting(
    saved: SavedModels,
    word: str = "done",
    *,
    wait: float = 0.0,
    streams: bool = False,
    asynchronous: bool = False,
    **options: Any,
) -> Path:
    """Save a model that obeys `told` and tells its `State`.

    Args:
        word: What it answers where it is told nothing else, and says in each chunk.
        wait: Seconds that it sleeps over any other text, such as its example's.
        streams: Whether it has a `predict_stream`.
        asynchronous: Whether it is a coroutine, and its stream an asynchronous generator.
        options: Those of `save_model`.
    """
    code = _PREAMBLE.format(word=word, wait=wait), _PREDICT, _STREAM
    preamble, predict, stream = code if asynchronous else map(synchronous, code)
    return saved.save(
        predict,
        stream=stream if streams else None,
        preamble=preamble,
        asynchronous=asynchronous,
        **options,
    )


def told(**plan: Any) -> dict[str, Any]:
    """A request for an answer.

    Before its only step, or before each chunk and before the end of a stream, the model sleeps for
    `sleep` seconds. At the step of the number `gate_at` (0) it waits for the file `gate`; at
    `fail_at` it raises a ValueError that says `with`, at `die_at` it ends its process, at `hang_at`
    it goes on for ever, and at `odd_at` it yields what is no JSON. Its answer is `echo`.
    """
    return {"instances": [json.dumps(plan)]}


def told_to_stream(**plan: Any) -> dict[str, Any]:
    """A request for a stream.

    `chunks` is their number (3), or a list of them. A chunk that is not in such a list is as
    `chunk` has it.
    """
    return {**told(**plan), "stream": True}


def chunk(number: int, word: str = "done", echo: Any = None, size: int = 0) -> dict[str, Any]:
    """A chunk that was not told: its `text` has so many characters."""
    return {"number": number, "word": word, "echo": echo, "text": "x" * size}


@dataclass(frozen=True, slots=True)
class State:
    """What a process of such a model says of itself.

    Attributes:
        pid: Its number.
        now: How many predictions are under way.
        most: How many were at the same time since it was asked last.
        predicted: How many have ended, well or not.
        cancelled: How many of these were cancelled.
        open: How many generators have begun, and have neither ended nor been closed.
        closed: How many have.
        made: How many chunks they have made.
        threads: How many it has.
        files: How many descriptors are open.
    """

    pid: int
    now: int
    most: int
    predicted: int
    cancelled: int
    open: int
    closed: int
    made: int
    threads: int
    files: int

    ASKED = told(state=True)

    @classmethod
    def of(cls, body: bytes) -> "State":
        """Read the answer to `ASKED`."""
        (state,) = orjson.loads(body)["predictions"]
        return cls(**orjson.loads(state))


async def state(client: Client) -> State:
    """What the one worker of such a model says of itself."""
    return State.of((await client.predict(State.ASKED)).body)


async def none_is_open(client: Client) -> State:
    """Wait until every generator has ended or was closed."""

    async def none() -> State | None:
        found = await state(client)
        return None if found.open else found

    found = await eventually(none, "every generator is closed", 5)
    assert found is not None
    return found
