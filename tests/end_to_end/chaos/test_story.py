"""What chaos takes for a problem, and what it does not."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.end_to_end.chaos.schedule import Promotion
from tests.end_to_end.chaos.story import Story
from tests.support.load import Sample
from tests.support.server import Event
from tests.support.waiting_models import chunk


def answer(sent: float, version: str, word: str) -> Sample:
    """A good answer."""
    return Sample(sent, sent + 0.01, 200, version, f'{{"predictions":["{word}"]}}'.encode())


def failure(sent: float, status: int = 500) -> Sample:
    """A request that failed."""
    return Sample(sent, sent + 0.01, status, None, b"{}")


def stream(sent: float, *events: object, version: str = "1") -> Sample:
    """A stream of these events."""
    body = b"".join(b"data: %b\n\n" % json.dumps(e).encode() for e in events)
    return Sample(sent, sent + 0.3, 200, version, body + b"data: [DONE]\n\n")


WHOLE = [chunk(n, "one") for n in range(10)]
CUT = [*WHOLE[:4], {"error": {"error_code": "INTERNAL_ERROR", "message": "it died"}}]


def event(at: float, name: str, **fields: Any) -> Event:
    """A line of the log."""
    return Event({"event": name, **fields}, at)


def swap(at: float, old: str | None, new: str, trigger: str = "watcher") -> Event:
    """A swap to another version."""
    return event(
        at,
        "model_swapped",
        old_version=old,
        new_version=new,
        trigger=trigger,
        version_changed=True,
    )


def moved(at: float, old: str, new: str) -> Event:
    """What comes before a swap."""
    return event(at, "version_moved", old_version=old, new_version=new)


GOOD = Story(
    clients=[
        [answer(1, "1", "one"), answer(11, "2", "two"), answer(21, "1", "one")],
        [answer(2, "1", "one"), answer(22, "1", "one")],
    ],
    events=[
        swap(0, None, "v1", "startup"),
        moved(9.5, "v1", "v2"),
        swap(10, "v1", "v2"),
        moved(19.5, "v2", "v1"),
        swap(20, "v2", "v1"),
    ],
    promotions=[Promotion("1", -2, -1), Promotion("2", 9, 9.1), Promotion("1", 19, 19.1)],
    kills=[],
    losses=[],
    final="1",
)


def test_a_rollback_without_a_failure_is_no_problem() -> None:
    assert GOOD.problems() == []


@pytest.mark.parametrize(
    ("story", "says"),
    [
        (replace(GOOD, clients=[[failure(5)]]), "1 requests failed with 500"),
        (replace(GOOD, clients=[[failure(5)]], kills=[6.0]), "1 requests failed with 500"),
        (replace(GOOD, clients=[[failure(5, 0)]], kills=[4.5]), "1 requests failed with 0"),
        (replace(GOOD, clients=[[answer(11, "2", "one")]]), "version 2 answered"),
        (replace(GOOD, clients=[[answer(5, "2", "two")]]), "version 2 answered a request"),
        (replace(GOOD, clients=[[answer(5, "4", "one")]]), "version 4 answered"),
        (
            replace(GOOD, clients=[[answer(10.1, "2", "two"), answer(10.2, "1", "one")]]),
            "a client went back to v1",
        ),
        (replace(GOOD, streams=[failure(5)]), "a stream failed with 500"),
        (replace(GOOD, streams=[stream(5, *WHOLE[:9])]), "version 1 streamed"),
        (replace(GOOD, streams=[stream(5, *WHOLE, version="2")]), "version 2 streamed"),
        (replace(GOOD, streams=[stream(5, *CUT)]), "version 1 streamed"),
        (replace(GOOD, streams=[stream(5, *CUT[1:])], kills=[5.1]), "version 1 streamed"),
        (replace(GOOD, streams=[answer(5, "1", "one")]), "a stream is not as it should be"),
        (replace(GOOD, promotions=GOOD.promotions[:1]), "which the registry did not name"),
        (replace(GOOD, final="2"), "v2 is in Production, v1 serves"),
        (replace(GOOD, events=[e for e in GOOD.events if "trigger" in e]), "no version_moved"),
        (
            replace(GOOD, events=[*GOOD.events, event(30, "swap_crashed")]),
            "swap_crashed",
        ),
        (
            replace(
                GOOD,
                events=[
                    *GOOD.events,
                    event(30, "reload_failed", failed_version="v2", phase="load"),
                ],
            ),
            "a good version was refused",
        ),
    ],
)
def test_what_does_not_fit_is_told(story: Story, says: str) -> None:
    assert any(says in problem for problem in story.problems()), story.problems()


def test_a_load_that_was_killed_is_no_problem_and_excuses_no_failed_request() -> None:
    refused = event(
        30,
        "reload_failed",
        failed_version="v2",
        phase="load",
        error="the worker process ended: it was killed (SIGKILL)",
    )
    lost = replace(GOOD, losses=[29.0], events=[*GOOD.events, refused])
    assert lost.problems() == []
    assert replace(lost, losses=[5.0]).problems() != []
    refused.fields["error"] = "the model fails"
    assert lost.problems() != []
    assert replace(lost, clients=[[failure(29)]]).problems() != []


def test_right_after_a_kill_a_documented_failure_is_no_problem() -> None:
    assert replace(GOOD, clients=[[failure(5)]], kills=[4.5]).problems() == []


def test_a_stream_that_a_killed_worker_cuts_with_an_error_is_no_problem() -> None:
    streams = [stream(5, *WHOLE), stream(5, *CUT)]
    assert replace(GOOD, streams=streams, kills=[5.1]).problems() == []
