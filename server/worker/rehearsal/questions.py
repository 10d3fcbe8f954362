"""Requests that a model is asked again, for as little as it takes."""

import contextlib
import time
from collections.abc import Sequence

from ..blocking import Judge
from ..merging.variations import vary_example
from ..protocol import Protocol
from ..spec import RecordedRequest
from .examples import Example

# Beside the example itself: these or fewer tell whether it waits.
_MORE = 3


class Question:
    """A request, and what the model has answered each time that it was asked it alone.

    Attributes:
        content_type: The request's.
        body: The request's.
        answers: Bodies.
        seconds: What the last of them took.
    """

    def __init__(self, content_type: str, body: bytes) -> None:
        self.content_type = content_type
        self.body = body
        self.answers: list[bytes] = []
        self.seconds = 0.0

    def answer(self, protocol: Protocol, judge: Judge | None = None) -> bytes:
        """Have it answered.

        Raises:
            Exception: whatever goes wrong.
        """
        # Read afresh: some models change what they get.
        request = protocol.parse(self.content_type, self.body)
        with judge.measuring() if judge is not None else contextlib.nullcontext():
            predictions = protocol.predict(request)
        return protocol.encode(request, predictions)

    def ask(self, protocol: Protocol, judge: Judge | None = None) -> bool:
        """Have it answered, and keep the answer; return whether there was one."""
        started = time.monotonic()
        try:
            self.answers.append(self.answer(protocol, judge))
        except BaseException:
            return False
        self.seconds = time.monotonic() - started
        return True


def questions_of(example: Example) -> list[Question]:
    """The example and one like it, the example answered once; none where it was not answered."""
    if example.body is None or example.answer is None:
        return []
    first = Question("application/json", example.body.encode())
    first.answers.append(example.answer)
    first.seconds = example.seconds
    other = vary_example(example.body)
    return [first, *([Question("application/json", other.encode())] if other is not None else [])]


def replayed_questions(
    recorded: Sequence[RecordedRequest], answers: Sequence[bytes]
) -> list[Question]:
    """Real requests that were answered once, with those answers."""
    questions = []
    for request, answer in zip(recorded, answers, strict=True):
        if answer:
            questions.append(Question(str(request.content_type, "latin-1"), request.body))
            questions[-1].answers.append(answer)
    return questions


def ask_until_told(protocol: Protocol, questions: Sequence[Question], judge: Judge) -> None:
    """Ask what has been answered once until it is told whether the model waits; nothing where it
    did not do so for long.

    Others first: the model may remember its answer.
    """
    if not questions or not judge.may_wait:
        return
    *_, other = questions
    for question in [other, *[questions[0]] * (_MORE - 1)]:
        if judge.verdict is not None:
            return
        question.ask(protocol, judge)
