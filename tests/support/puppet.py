"""A model that writes whatever it is told to where its worker speaks to the gateway."""

import struct
from pathlib import Path

from server.worker.frames import Kind, encode
from tests.support.models import SavedModels

# In answers, it stands for that of the batch.
NUMBER = bytes.fromhex("feedfacecafebeef")

_PREAMBLE = """
import gc, json, os, time

def find():
    channels = [o for o in gc.get_objects() if type(o).__name__ == "Channel"]
    # A template has closed its own.
    (channel,) = [c for c in channels if c._socket.fileno() >= 0]
    return channel

def write(data):
    channel, view = find(), memoryview(data)
    try:
        while view:
            view = view[os.write(channel.fileno(), view):]
    except OSError:
        pass

def write_in_place_of_answers(data):
    channel = find()

    def send_answers(number, answers):
        del channel.send_answers
        write(data.replace({number!r}, number))

    channel.send_answers = send_answers
"""
_PREDICT = """
for told in model_input.text:
    what, _, data = told.partition(" ")
    if what == "write":
        write(bytes.fromhex(data))
    elif what == "answer":
        write_in_place_of_answers(bytes.fromhex(data))
return ["done"] * len(model_input)
"""
_LOAD = """
plan = {plan!r}
if os.path.exists(plan):
    with open(plan) as file:
        told = json.load(file)
    write(bytes.fromhex(told["write"]))
    time.sleep(told["seconds"])
"""


def save_puppet(saved: SavedModels, plan: Path) -> Path:
    """Save it.

    To each row it answers "done". Where that is `write` and hexadecimal digits, it writes those
    bytes first; where it is `answer` and such, its worker writes them in place of the answer.

    While it loads it does what the file `plan` says, if there is one: a JSON object with the bytes
    to `write`, and `seconds` to sleep then.
    """
    load = _LOAD.format(plan=str(plan))
    preamble = _PREAMBLE.replace("{number!r}", repr(NUMBER))
    return saved.save(_PREDICT, preamble=preamble, load=load, input_example=None)


def told_to_write(data: bytes) -> dict[str, list[str]]:
    """The request that makes it write these bytes."""
    return {"instances": [f"write {data.hex()}"]}


def told_to_answer(data: bytes) -> dict[str, list[str]]:
    """The request that is answered with these bytes."""
    return {"instances": [f"answer {data.hex()}"]}


def answer(status: int, body: bytes, *, place: int = 0, outcome: int = 0) -> bytes:
    """An answer to the only request of a batch, as a worker may write it."""
    return frame(Kind.ANSWERS, NUMBER, struct.pack("!IHB", place, status, outcome), body)


def frame(kind: Kind, *parts: bytes) -> bytes:
    """One whole frame."""
    return b"".join(encode(kind, parts))
