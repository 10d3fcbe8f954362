"""From the answers of MLflow's `ResponsesAgent` to OpenAI's responses."""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from ..parsing import Request

# A response is known by these to have ended, and how.
_STATUS = {
    "response.completed": "completed",
    "response.failed": "failed",
    "response.incomplete": "incomplete",
}
_LIFE = {"response.created", "response.queued", "response.in_progress", *_STATUS}

_Event = dict[str, Any]


def answer(request: Request, said: Any) -> dict[str, Any]:
    """Make a whole `response` of a `ResponsesAgentResponse`.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: it is none.
    """
    output = [_whole(item) for item in said["output"]]
    return {**_response(request), "status": "completed", **_given(said), "output": output}


def stream(request: Request, events: Iterator[Any]) -> Iterator[_Event]:
    """Make the events of a `ResponsesAgent` those that OpenAI sends.

    `response.created` comes first, `response.completed` last, and an item and its part before what
    is added to them, unless the model has said so itself; all are numbered.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: the model sent something else.
    """
    framing = _Framing(_response(request))
    for number, event in enumerate(framing.frame(events)):
        yield {**event, "sequence_number": number}


class _Framing:
    """Puts in what is missing between a model's events.

    Args:
        response: What is known of the response.
    """

    def __init__(self, response: _Event) -> None:
        self._response = response
        self._begun = self._ended = False
        # The items that were added, each by its type and id: their places in the output.
        self._places: dict[tuple[str, str], int] = {}
        # The same by what events call them.
        self._named: dict[tuple[str, str], int] = {}
        # The parts of messages that were added, each by its item's id and its own place.
        self._parts: set[tuple[str, int]] = set()
        # The texts of those that the model has not added itself.
        self._texts: dict[str, str] = {}
        self._done: dict[int, _Event] = {}

    def frame(self, events: Iterator[Any]) -> Iterator[_Event]:
        """Yield a model's events with what is missing."""
        for event in events:
            yield from self._take(dict(event))
        if not self._ended:
            yield from self._take({"type": "response.completed", "response": {}})

    def _take(self, event: _Event) -> Iterator[_Event]:
        type_ = event["type"]
        if type_ in _LIFE:
            yield from self._of_life(event)
            return
        yield from self._begin()
        if type_ == "error":
            self._ended = True
        elif type_ == "response.output_item.added":
            item = event["item"] = _with_id(event["item"])
            event["output_index"] = self._place(item, event.get("output_index"))
        elif type_ == "response.output_item.done":
            yield from self._finish_item(event)
            return
        elif type_ == "response.content_part.added":
            self._parts.add((event["item_id"], event.setdefault("content_index", 0)))
        elif type_ == "response.output_text.delta":
            yield from self._begin_part(event)
        if "item_id" in event and event.get("output_index") is None:
            event["output_index"] = self._place_of(event["item_id"], type_)
        yield event

    def _of_life(self, event: _Event) -> Iterator[_Event]:
        type_ = event["type"]
        if type_ != "response.created":
            yield from self._begin()
        self._response |= _given(event.get("response") or {})
        if type_ in _STATUS:
            for identifier in [*self._texts]:
                yield from self._take(
                    {"type": "response.output_item.done", "item": self._item_of(identifier)}
                )
            output = [*map(_whole, self._response["output"])]
            output = output or [item for _, item in sorted(self._done.items())]
            self._response |= {"status": _STATUS[type_], "output": output}
            self._ended = True
        self._begun = True
        yield {**event, "response": {**self._response}}

    def _begin(self) -> Iterator[_Event]:
        if not self._begun:
            self._begun = True
            yield {"type": "response.created", "response": {**self._response}}

    def _begin_part(self, event: _Event) -> Iterator[_Event]:
        """Add the item and the part that a piece of text belongs to, if the model has not."""
        identifier = event["item_id"]
        index = event["content_index"] = event.get("content_index") or 0
        event.setdefault("logprobs", [])
        if ("message", identifier) not in self._places:
            item = {**_message(identifier), "status": "in_progress", "content": []}
            place = self._place(item, event.get("output_index"))
            yield {"type": "response.output_item.added", "output_index": place, "item": item}
        if (identifier, index) not in self._parts:
            self._parts.add((identifier, index))
            self._texts[identifier] = ""
            yield {**self._part_of(identifier, ""), "type": "response.content_part.added"}
        if identifier in self._texts:
            self._texts[identifier] += event["delta"]

    def _finish_item(self, event: _Event) -> Iterator[_Event]:
        item = _whole(event["item"])
        if item["type"] == "message" and item["id"] in self._texts:
            text = self._texts.pop(item["id"])
            part = self._part_of(item["id"], text)
            where = {name: part[name] for name in ("item_id", "output_index", "content_index")}
            yield {**where, "type": "response.output_text.done", "text": text, "logprobs": []}
            yield {**part, "type": "response.content_part.done"}
        added = _key(item) in self._places
        place = self._place(item, event.get("output_index"))
        if not added:
            yield {"type": "response.output_item.added", "output_index": place, "item": item}
        self._done[place] = item
        yield {**event, "item": item, "output_index": place}

    def _place(self, item: _Event, told: int | None) -> int:
        """Return the place of an item in the output, as the model has told or the next."""
        if told is None:
            told = max(self._places.values(), default=-1) + 1
        place = self._places.setdefault(_key(item), told)
        self._named[item["type"], item["id"]] = place
        return place

    def _place_of(self, identifier: str, event_type: str) -> int:
        """Return the place of the item that an event is about, as far as that can be known."""
        places = {type_: place for (type_, id_), place in self._named.items() if id_ == identifier}
        of_type = event_type.removeprefix("response.")
        # Several items may have one id, see `_key`: `function_call_arguments` are a call's.
        named = [place for type_, place in places.items() if of_type.startswith(type_)]
        messages = [place for type_, place in places.items() if type_ == "message"]
        return next(iter(named or messages or places.values()), 0)

    def _part_of(self, identifier: str, text: str) -> _Event:
        return {
            "item_id": identifier,
            "output_index": self._places["message", identifier],
            "content_index": 0,
            "part": _text(text),
        }

    def _item_of(self, identifier: str) -> _Event:
        return {**_message(identifier), "content": [_text(self._texts[identifier])]}


def _response(request: Request) -> _Event:
    """What a response has before anything is known of it."""
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": request.model,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def _given(said: Mapping[str, Any]) -> _Event:
    return {name: value for name, value in said.items() if value is not None}


def _message(identifier: str) -> _Event:
    return {"id": identifier, "type": "message", "role": "assistant", "status": "completed"}


def _text(text: str) -> _Event:
    return {"type": "output_text", "text": text, "annotations": []}


def _with_id(item: Mapping[str, Any]) -> _Event:
    prefix = "msg" if item["type"] == "message" else "item"
    return {**item, "id": item.get("id") or f"{prefix}_{uuid.uuid4().hex}"}


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    # MLflow's own helper gives a text and the calls beside it one id
    # (mlflow/types/responses.py, `_cc_stream_to_responses_stream`).
    return item["type"], item.get("call_id") or item["id"]


def _whole(item: Mapping[str, Any]) -> _Event:
    """Return an item that is done, with what OpenAI's always have."""
    whole = _with_id(item)
    if whole["type"] in ("message", "function_call"):
        whole["status"] = whole.get("status") or "completed"
    if whole["type"] == "message":
        whole["role"] = whole.get("role") or "assistant"
        whole["content"] = [
            {"annotations": [], **part} if part["type"] == "output_text" else part
            for part in whole["content"]
        ]
    return whole
