"""Answers to real requests are compared by what they are, not by how many rows they happen to
have."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from server.worker.rehearsal.rehearsal import RehearsalFailed
from server.worker.spec import RecordedRequest
from tests.support.models import SavedModels
from tests.worker.rehearsal.conftest import Rehearse

JSON = "application/json"


def recorded(
    pairs: Iterable[tuple[Any, Any]], content_type: str = JSON
) -> tuple[RecordedRequest, ...]:
    """Requests as they were answered before: bodies, or JSON documents, and predictions."""
    return tuple(
        RecordedRequest(
            content_type.encode(),
            body.encode() if isinstance(body, str) else json.dumps(body).encode(),
            json.dumps({"predictions": answer}).encode(),
        )
        for body, answer in pairs
    )


@pytest.fixture
def judged(saved: SavedModels, rehearsal: Rehearse) -> Any:
    """Has a model of a method's body replay requests, and returns why it is refused, if it is."""

    def judge(predict: str, requests: tuple[RecordedRequest, ...]) -> str | None:
        path = saved.save(predict, signature=None, input_example=None)
        try:
            rehearsal(path, recorded=requests, batching="off")
        except RehearsalFailed as refused:
            counts, _, why = str(refused).partition(": ")
            assert counts.endswith("a larger share than REHEARSAL_MAX_FAILURES=0.05")
            return why
        return None

    return judge


ONE = {"dataframe_records": [{"a": 1}]}
THREE = {"dataframe_records": [{"a": 1}, {"a": 2}, {"a": 3}]}

# What was answered before, and what a candidate answers to the same.
NEVER_ROW_WISE: dict[str, tuple[list[tuple[Any, Any]], str]] = {
    "the best five for one row, now three": ([(ONE, [5, 4, 3, 2, 1])], "return [5, 4, 3]"),
    "the best three for three rows, now two": (
        [(THREE, [3, 2, 1]), (ONE, [3, 2, 1])],
        "return [3, 2]",
    ),
    "none found, now two": ([(ONE, [])], "return [{'box': [0, 1]}, {'box': [2, 3]}]"),
    "one found in one image and three in another, now two in both": (
        [(ONE, [{"box": [0, 1]}]), (THREE, [{"box": [0, 1]}, {"box": [2, 3]}])],
        "return [{'box': [0, 1]}, {'box': [2, 3]}, {'box': [4, 5]}, {'box': [6, 7]}]",
    ),
    "seven days ahead, now fourteen": (
        [({"inputs": [[1.0, 2.0]]}, [0.5] * 7)],
        "import numpy as np; return np.arange(14.0)",
    ),
    "a frame of more rows": (
        [(ONE, [{"day": 1}, {"day": 2}])],
        "return pd.DataFrame({'day': [1, 2, 3]})",
    ),
    "ragged": ([(ONE, [[1], [2, 3]])], "return [[1], [2], [3, 4]]"),
    "an object's lists": ([(ONE, {"labels": ["a"]})], "return {'labels': ['a', 'b']}"),
    "totals over all rows": ([(THREE, [6])], "return [6, 2.0]"),
    "a request that is not made of rows": ([({"inputs": 5}, [1, 2])], "return [1]"),
    "rows of different lengths in a row": ([(ONE, [[1, 2, 3]])], "return [[1, 2]]"),
}


@pytest.mark.parametrize(("before", "predict"), NEVER_ROW_WISE.values(), ids=NEVER_ROW_WISE.keys())
def test_the_number_of_rows_is_free_where_there_was_never_one_for_each(
    judged: Any, before: list[tuple[Any, Any]], predict: str
) -> None:
    assert judged(predict, recorded(before)) is None


ROW_WISE: dict[str, tuple[list[tuple[Any, Any]], str, str]] = {
    "one of one lost": ([(ONE, [1])], "return []", "0 rows where there were 1"),
    "one of three lost": ([(THREE, [1, 2, 3])], "return [1, 2]", "2 rows where there were 3"),
    "one invented": ([(THREE, ["a"] * 3)], "return ['a'] * 4", "4 rows where there were 3"),
    "a frame's": (
        [(THREE, [{"b": 1}] * 3)],
        "return pd.DataFrame({'b': [1, 2]})",
        "2 rows where there were 3",
    ),
    "lists of the best for each": (
        [(THREE, [[1, 2]] * 3)],
        "return [[1, 2]] * 2",
        "2 rows where there were 3",
    ),
    "columns": (
        [({"inputs": {"a": [1, 2]}}, [1, 2])],
        "return [1]",
        "1 rows where there were 2",
    ),
    "one request before that lost a row": (
        [(THREE, [1, 2, 3])] * 6 + [({"dataframe_records": [{"a": 1}, {"a": 9}]}, [1])],
        "return [1] * (3 if len(model_input) < 3 else 2)",
        "2 rows where there were 3",
    ),
    "all of what was never one for each": (
        [(ONE, [3, 2, 1])],
        "return []",
        "0 rows where there were 3",
    ),
    "another format was never row-wise": (
        [(THREE, [1, 2, 3]), ({"inputs": [[1, 2]]}, [1, 2, 3])],
        "return [1]",
        "1 rows where there were 3",
    ),
}


@pytest.mark.parametrize(
    ("before", "predict", "difference"), ROW_WISE.values(), ids=ROW_WISE.keys()
)
def test_a_row_lost_or_invented_is_a_reason_to_refuse_where_there_was_one_for_each(
    judged: Any, before: list[tuple[Any, Any]], predict: str, difference: str
) -> None:
    refusal = judged(predict, recorded(before))
    assert refusal is not None
    assert refusal.startswith(f"request 1 of {len(before)}: {difference}")


def test_rows_of_csv_are_counted_too(judged: Any) -> None:
    lost = recorded([("a\n1\n2\n", [1, 2])], "text/csv")
    assert judged("return [1]", lost) == "request 1 of 1: 1 rows where there were 2"
    assert judged("return [1]", recorded([("a\n1\n2\n", [1, 2, 3])], "text/csv")) is None


def test_chats_are_not_made_of_rows(judged: Any) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}]}
    request = RecordedRequest(JSON.encode(), json.dumps(body).encode(), b'["hi", "hello"]')
    assert judged("return ['hi']", (request,)) is None


@pytest.mark.parametrize(
    ("old", "predict", "lost"),
    [
        # The first of the one need not be about the same thing as the first of the other.
        ([{"a": 1, "b": None}, {"a": 2, "b": 1}], "return [{'a': 3, 'b': 2}] * 2", 0),
        ([{"a": 1, "b": 2}, {"a": 2, "b": None}], "return [{'a': 3, 'b': None}]", 0),
        ([{"a": 1, "b": 2}, {"a": 2, "b": None}], "return [{'a': None, 'b': 1}]", 1),
        ([0.5, 0.25], "return [0.5, float('nan'), float('nan')]", 2),
        ([[1, 2], [3, None]], "return [[1, None]]", 0),
    ],
)
def test_a_value_is_missing_where_every_row_before_had_one(
    judged: Any, old: Any, predict: str, lost: int
) -> None:
    why = judged(predict, recorded([(ONE, old)]))
    assert why == (f"request 1 of 1: null or NaN in place of {lost} values" if lost else None)


def test_of_rows_that_correspond_each_keeps_its_values(judged: Any) -> None:
    requests = recorded([(THREE, [None, 2, 3])])
    assert judged("return [None, None, 3]", requests) == (
        "request 1 of 1: null or NaN in place of 1 values"
    )


@pytest.fixture(scope="module")
def odd(saved: SavedModels) -> Path:
    """A model that raises on texts which begin with `odd`, and takes its time over `slow` ones."""
    return saved.save(
        """
        import time
        if model_input.text[0].startswith("odd"):
            raise ValueError
        time.sleep(0.3 * model_input.text[0].startswith("slow"))
        return ["fine"]
        """
    )


def texts(*counted: tuple[str, int]) -> tuple[RecordedRequest, ...]:
    """So many requests of texts that begin with each word."""
    words = [f"{word} {number}" for word, count in counted for number in range(count)]
    answer = b'{"predictions":["fine"]}'
    return tuple(
        RecordedRequest(JSON.encode(), json.dumps({"instances": [word]}).encode(), answer)
        for word in words
    )


@pytest.mark.parametrize(
    ("odd_ones", "of", "share"),
    [
        *((0, 1, 0.05), (1, 20, 0.05), (1, 32, 0.05), (2, 40, 0.05)),
        *((1, 3, 0.34), (29, 100, 0.29), (7, 100, 0.07), (3, 3, 1.0), (0, 3, 0.0)),
    ],
)
def test_as_many_may_fail_as_the_share_says(
    odd: Path, rehearsal: Rehearse, odd_ones: int, of: int, share: float
) -> None:
    requests = texts(("odd", odd_ones), ("good", of - odd_ones))
    rehearsed = rehearsal(odd, recorded=requests, batching="off", max_failures=share)
    assert (rehearsed.replay.failed, rehearsed.replay.asked) == (odd_ones, of)
    # Those count apart.
    assert rehearsed.replay.changed == 0
    assert rehearsed.replay.answers[:odd_ones] == [b""] * odd_ones
    assert all(rehearsed.replay.answers[odd_ones:])


@pytest.mark.parametrize(
    ("odd_ones", "of", "share"),
    [
        *((1, 1, 0.05), (1, 3, 0.05), (1, 19, 0.05), (2, 32, 0.05), (2, 39, 0.05)),
        *((30, 100, 0.29), (1, 32, 0.0), (3, 3, 0.99)),
    ],
)
def test_one_more_is_refused_and_said(
    odd: Path, rehearsal: Rehearse, odd_ones: int, of: int, share: float
) -> None:
    requests = texts(("odd", odd_ones), ("good", of - odd_ones))
    with pytest.raises(RehearsalFailed) as refused:
        rehearsal(odd, recorded=requests, batching="off", max_failures=share)
    assert str(refused.value).startswith(
        f"{odd_ones} of {of} recent requests failed, a larger share than "
        f"REHEARSAL_MAX_FAILURES={share:g}: request 1 of {of}: the model raises ValueError"
    )


def test_after_its_time_no_other_request_is_begun_with(odd: Path, rehearsal: Rehearse) -> None:
    requests = texts(("good", 3), ("slow", 1), ("odd", 5))
    replay = rehearsal(odd, recorded=requests, batching="off", rehearsal_seconds=0.2).replay
    assert (replay.asked, replay.failed, len(replay.answered)) == (4, 0, 4)
    assert replay.answers[4:] == [b""] * 5
    # Of those that there was no time for nobody knows.
    with pytest.raises(RehearsalFailed, match=r"^5 of 9 "):
        rehearsal(odd, recorded=requests, batching="off")


def test_what_takes_long_is_asked_but_once(
    saved: SavedModels, rehearsal: Rehearse, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    path = saved.save(
        f"""
        import time
        slow = [text for text in model_input.text if text.startswith("slow")]
        with open({str(notes)!r}, "a") as file:
            print(*slow, sep="\\n", file=file)
        time.sleep(0.3 * len(slow))
        return ["fine"] * len(model_input)
        """
    )
    rehearsed = rehearsal(path, recorded=texts(("slow", 4), ("good", 20)))
    # Neither to find out what may be merged nor to warm up, here or in a worker.
    assert notes.read_text().count("slow") == 4
    assert len(rehearsed.replay.answered) == 24
    assert len(rehearsed.replay.quick) == 20
    assert rehearsed.proof.formats
    assert rehearsed.sample is not None
    assert b"good" in rehearsed.sample[1]


def test_one_is_asked_whatever_time_there_is(odd: Path, rehearsal: Rehearse) -> None:
    replay = rehearsal(odd, recorded=texts(("slow", 2)), batching="off", rehearsal_seconds=1e-9)
    assert replay.replay.asked == 1


def test_the_gateway_is_told_what_the_replay_alone_may_take(odd: Path, rehearsal: Rehearse) -> None:
    limits: list[float | None] = []
    rehearsal(odd, recorded=texts(("good", 1)), batching="off", limit=limits.append)
    assert limits == [70.0, None]
