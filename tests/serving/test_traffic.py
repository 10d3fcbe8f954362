"""Which requests are kept to rehearse a new version with."""

from server.serving.traffic import AnswerCount, RecentRequests
from server.worker.spec import RecordedRequest

JSON = b"application/json"


def bodies(recent: RecentRequests) -> list[bytes]:
    """What is kept, the oldest first."""
    return [request.body for request in recent.snapshot()]


def test_the_last_distinct_ones_are_kept() -> None:
    recent = RecentRequests(2)
    for body in (b"1", b"2", b"1", b"3"):
        recent.note(JSON, body, b"answer")
    assert bodies(recent) == [b"1", b"3"]


def test_the_last_answer_counts_and_another_content_type_is_another_request() -> None:
    recent = RecentRequests(4)
    recent.note(JSON, b"1", b"old")
    recent.note(JSON, b"1", b"new")
    recent.note(b"text/csv", b"1", b"csv")
    assert recent.snapshot() == (
        RecordedRequest(JSON, b"1", b"new"),
        RecordedRequest(b"text/csv", b"1", b"csv"),
    )


def test_none_are_kept_where_none_are_wanted() -> None:
    recent = RecentRequests(0)
    recent.note(JSON, b"1", b"answer")
    assert recent.snapshot() == ()


def test_they_are_bounded_in_bytes() -> None:
    recent = RecentRequests(10_000)
    recent.note(JSON, bytes(2 * 1024 * 1024), b"too large by itself")
    assert recent.snapshot() == ()
    for number in range(60):
        recent.note(JSON, b"%d" % number + bytes(500_000), bytes(500_000))
    kept = recent.snapshot()
    assert sum(len(r.body) + len(r.answer) for r in kept) <= 16 * 1024 * 1024
    assert kept[-1].body.startswith(b"59")


def test_the_answers_of_the_last_minute_are_counted() -> None:
    answers = AnswerCount()
    for second in range(200):
        answers.total += 10
        answers.look(float(second))
        assert answers.lately(second) == 10 * min(second + 1, 60)


def test_answers_of_more_than_a_minute_ago_are_not() -> None:
    answers = AnswerCount()
    answers.total += 10
    answers.look(0.5)
    assert answers.lately(60.0) == 10
    assert answers.lately(61.0) == 0
    answers.total += 1
    assert answers.lately(61.5) == 1
