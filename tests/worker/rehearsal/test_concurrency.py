"""A model that waits gets many predictions at a time, if it can stand them, and is asked next to
nothing for that: each answer may cost money."""

import json
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pytest

from server.worker.frames import SLOTS_OF_WAITING
from server.worker.rehearsal import concurrency
from server.worker.rehearsal.concurrency import Concurrency
from server.worker.rehearsal.rehearsal import Rehearsed
from server.worker.spec import RecordedRequest
from tests.support.models import SavedModels
from tests.worker.rehearsal.conftest import Rehearse

MOST_ASKED = 8
# Two that agree tell whether it waits, or a majority of three: the first may take longer.
TELLING = (2, 3)
RECORDED = tuple(
    RecordedRequest(b"application/json", json.dumps({"instances": [word]}).encode(), b"[1]")
    for word in ("one", "two", "three", "four")
)

SLEEPS = "time.sleep(0.02); return list(model_input.text)"


class Try:
    """Rehearses a model of a method's body; `asked` is what it was asked, in order."""

    def __init__(self, saved: SavedModels, rehearsal: Rehearse, notes: Path) -> None:
        self.asked: list[str] = []
        self._saved = saved
        self._rehearsal = rehearsal
        self._notes = notes

    def __call__(
        self, predict: str, *, load: str = "pass", saved: dict[str, Any] | None = None, **spec: Any
    ) -> Rehearsed:
        path = self._saved.save(
            f"with open({str(self._notes)!r}, 'a') as notes:\n"
            f"    print(*model_input.text, file=notes)\n{predict}",
            load=load,
            preamble="import itertools, random, threading, time, uuid, pathlib",
            **(saved or {}),
        )
        self._notes.write_text("")
        rehearsed = self._rehearsal(path, **spec)
        self.asked = self._notes.read_text().splitlines()
        return rehearsed


@pytest.fixture
def trying(saved: SavedModels, rehearsal: Rehearse, tmp_path: Path) -> Try:
    """Rehearses models in this process."""
    return Try(saved, rehearsal, tmp_path / "notes")


def test_one_that_waits_is_asked_its_example_and_one_like_it(trying: Try) -> None:
    before = threading.active_count()
    rehearsed = trying(SLEEPS, recorded=RECORDED)
    slots, reason, waits, judge = rehearsed.concurrency
    assert (slots, waits, judge) == (SLOTS_OF_WAITING, True, None)
    assert reason.endswith("and answers requests at once as one by one")
    assert len(trying.asked) == 6
    assert len(set(trying.asked)) == 2
    assert trying.asked[0] == "some text"
    # Neither real requests nor merged ones, here or when a worker is warmed up.
    assert rehearsed.replay.asked == 0
    assert rehearsed.replay.answers == [b""] * len(RECORDED)
    assert rehearsed.proof.formats == frozenset()
    assert rehearsed.sample is None
    assert rehearsed.replay_skipped is not None
    # It may be forked.
    assert threading.active_count() == before


def test_one_that_keeps_a_request_in_itself_gets_one_at_a_time(trying: Try) -> None:
    keeps = "self.texts = list(model_input.text); time.sleep(0.02); return self.texts"
    rehearsed = trying(keeps)
    slots, reason, waits, _ = rehearsed.concurrency
    assert (slots, waits) == (1, True)
    assert reason.endswith("but answers requests at once in another way than one by one")
    assert len(trying.asked) == MOST_ASKED
    assert rehearsed.proof.formats == frozenset()


def test_nor_does_it_help_that_ids_and_times_differ_as_well(trying: Try) -> None:
    answer = "return {'id': uuid.uuid4().hex, 'created': time.time(), 'answer': %s}"
    keeps = f"self.texts = list(model_input.text); time.sleep(0.02); {answer % 'self.texts'}"
    assert trying(keeps).concurrency.slots == 1
    assert len(trying.asked) == MOST_ASKED
    sound = f"time.sleep(0.02); {answer % 'list(model_input.text)'}"
    assert trying(sound).concurrency.reason.endswith("as one by one")


def test_a_time_that_passes_between_the_answers_is_no_difference(trying: Try) -> None:
    # The fifth request and those after it come later.
    later = "time.sleep(0.02); return {'created': next(self.count) // 4, 'answer': 'x'}"
    rehearsed = trying(later, load="self.count = itertools.count()")
    assert rehearsed.concurrency.slots == SLOTS_OF_WAITING
    assert len(trying.asked) == MOST_ASKED


def test_one_that_answers_by_chance_gets_many_untold(trying: Try) -> None:
    slots, reason, *_ = trying("time.sleep(0.02); return [random.random()]").concurrency
    assert slots == SLOTS_OF_WAITING
    assert reason.endswith("the same request in several ways, so nothing can be compared")
    assert len(trying.asked) == 4


def test_one_that_fails_at_once_gets_one_at_a_time(trying: Try) -> None:
    fails = """
assert self.lock.acquire(blocking=False)
time.sleep(0.02)
self.lock.release()
return list(model_input.text)
"""
    slots, reason, *_ = trying(fails, load="self.lock = threading.Lock()").concurrency
    assert slots == 1
    assert reason.endswith("but fails on requests at once that it answers one by one")


def test_one_that_hangs_at_once_gets_one_at_a_time(
    trying: Try, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(concurrency, "_LEAST_PATIENCE_SECONDS", 0.5)
    end = tmp_path / "end"
    hangs = f"""
if not self.lock.acquire(blocking=False):
    while not pathlib.Path({str(end)!r}).exists():
        time.sleep(0.01)
    return
time.sleep(0.02)
self.lock.release()
return list(model_input.text)
"""
    threads = threading.enumerate()
    assert trying(hangs, load="self.lock = threading.Lock()").concurrency.slots == 1
    end.touch()
    for thread in set(threading.enumerate()) - set(threads):
        thread.join()


def test_one_that_takes_long_is_asked_only_whether_it_waits(trying: Try) -> None:
    rehearsed = trying(SLEEPS, rehearsal_seconds=0.05)
    slots, reason, *_ = rehearsed.concurrency
    assert slots == SLOTS_OF_WAITING
    assert len(trying.asked) in TELLING
    assert reason.endswith("not tried: it takes too long")


def test_one_that_remembers_its_answers_waits_all_the_same(trying: Try) -> None:
    remembers = """
(text,) = model_input.text
if text not in self.known:
    time.sleep(0.02)
    self.known.add(text)
return [text]
"""
    assert trying(remembers, load="self.known = set()").concurrency.waits is True
    assert len(trying.asked) <= MOST_ASKED


def test_one_that_waits_but_once_computes(trying: Try) -> None:
    once = "time.sleep(0.02 * (next(self.count) == 0)); return list(model_input.text)"
    rehearsed = trying(once, load="self.count = itertools.count()", recorded=RECORDED)
    assert rehearsed.concurrency[:3:2] == (1, False)
    assert rehearsed.proof.formats
    assert rehearsed.replay.asked == len(RECORDED)
    assert rehearsed.replay_skipped is None


def test_one_that_computes_is_asked_once_for_this_and_merged(trying: Try) -> None:
    rehearsed = trying("return list(model_input.text)", batching="auto", recorded=RECORDED)
    slots, _, waits, judge = rehearsed.concurrency
    assert (slots, waits, judge) == (1, False, None)
    assert rehearsed.proof.formats
    assert rehearsed.sample is not None
    trying("return list(model_input.text)", batching="off")
    assert len(trying.asked) == 1


def test_without_an_example_the_first_real_requests_tell(trying: Try) -> None:
    rehearsed = trying(SLEEPS, recorded=RECORDED, saved={"input_example": None})
    slots, reason, waits, _ = rehearsed.concurrency
    assert (slots, waits) == (SLOTS_OF_WAITING, True)
    assert reason.endswith("not tried: it has no example that can be varied")
    assert trying.asked in [["one", "two", "three"][:count] for count in TELLING]
    assert rehearsed.replay_skipped is not None


def test_with_neither_it_is_left_to_those_who_come(trying: Try) -> None:
    slots, _, waits, judge = trying(SLEEPS, saved={"input_example": None}).concurrency
    assert (slots, waits) == (1, None)
    assert judge is not None
    assert judge.verdict is None


def test_a_number_of_requests_that_was_set_holds_for_all(trying: Try) -> None:
    rehearsed = trying(SLEEPS, recorded=RECORDED, replay_always=True, saved={"input_example": None})
    assert rehearsed.replay.asked == len(RECORDED)
    assert rehearsed.replay_skipped is None
    # Two of them show that it stands several.
    assert rehearsed.concurrency.reason.endswith("as one by one")
    assert rehearsed.proof.formats == frozenset()


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"concurrency": 4}, (4, "CONCURRENCY=4")),
        ({"concurrency": 1}, (1, "CONCURRENCY=1")),
        ({"batching": "on"}, (1, "BATCHING=on")),
        ({"slots": 32, "merged_formats": ()}, (32, "found by the first worker")),
        ({"slots": 1, "merged_formats": ()}, (1, "found by the first worker")),
    ],
)
def test_what_is_known_is_not_tried(
    trying: Try, spec: dict[str, Any], found: tuple[int, str]
) -> None:
    rehearsed = trying(SLEEPS, **spec)
    assert rehearsed.concurrency[:2] == found
    assert len(trying.asked) <= max(TELLING)
    assert bool(rehearsed.proof.formats) is (spec.get("batching") == "on")


def test_several_at_a_time_are_not_merged(trying: Try) -> None:
    rehearsed = trying("return list(model_input.text)", concurrency=4)
    assert rehearsed.concurrency.waits is False
    assert rehearsed.proof.formats == frozenset()


CHAT = """
import time
from mlflow.models import set_model
from mlflow.pyfunc import ChatModel
from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage

class Model(ChatModel):
    def predict(self, context, messages, params):
        {predict}
        answer = ChatMessage(role="assistant", content=text)
        return ChatCompletionResponse(choices=[ChatChoice(message=answer)])

set_model(Model())
"""


@pytest.fixture
def chat(rehearsal: Rehearse, tmp_path: Path) -> Callable[[str], Rehearsed]:
    """Rehearses a chat model; the code names its answer `text`."""

    def run(predict: str) -> Rehearsed:
        code = tmp_path / "code.py"
        code.write_text(CHAT.format(predict=predict))
        path = tmp_path / "model"
        with warnings.catch_warnings(action="ignore"):
            mlflow.pyfunc.save_model(path, python_model=str(code), pip_requirements=[])
        message = b'{"messages": [{"role": "user", "content": "hello"}]}'
        return rehearsal(path, recorded=(RecordedRequest(b"application/json", message, b"{}"),))

    return run


def test_a_chat_model_is_asked_no_real_request_though_it_computes(
    chat: Callable[[str], Rehearsed],
) -> None:
    rehearsed = chat("text = messages[-1].content")
    assert (rehearsed.requests, rehearsed.replay.asked) == (1, 0)
    assert rehearsed.replay_skipped is not None
    assert rehearsed.sample is None
    assert rehearsed.concurrency[:3:2] == (1, False)


def test_a_chat_model_that_waits_is_tried_with_other_messages(
    chat: Callable[[str], Rehearsed], tmp_path: Path
) -> None:
    found: Concurrency = chat("text = messages[-1].content; time.sleep(0.02)").concurrency
    assert (found.slots, found.reason[-10:]) == (SLOTS_OF_WAITING, "one by one")
    (tmp_path / "model").rename(tmp_path / "another")
    keeps = "self.said = messages[-1].content; time.sleep(0.02); text = self.said"
    assert chat(keeps).concurrency.slots == 1
