"""Which requests are kept to rehearse a new version with."""

from collections import Counter
from itertools import count, pairwise

import pytest

from server.serving.traffic import AnswerCount, Kept, RecentRequests, that_fit
from server.worker.spec import RecordedRequest

JSON = b"application/json"
A, B, C = b"a", b"b", b"c"
HOUR = 3600.0
MEBIBYTE = 1024 * 1024


class Traffic:
    """Answers requests, one like no other each time unless it is given, as a dispatcher does.

    Attributes:
        now: The loop's time.
    """

    def __init__(self, limit: int) -> None:
        self.recent = RecentRequests(limit)
        self.now = 1000.0
        self._numbers = count()

    def answer(self, client: bytes, body: bytes | None = None, answer: bytes = b"answer") -> bool:
        """Answer a client; whether anybody asked what."""
        body = b"%s %d" % (client, next(self._numbers)) if body is None else body
        due = self.recent.is_due(client, self.now)
        if due:
            self.recent.note(client, JSON, body, answer, self.now, seconds=0.01)
        return due

    def flood(self, client: bytes, requests: int = 1000, seconds: float = 1.0) -> int:
        """Answer a client many times, evenly within so many seconds; how many were looked at."""
        looked_at = 0
        for _ in range(requests):
            self.now += seconds / requests
            looked_at += self.answer(client)
        return looked_at

    @property
    def kept(self) -> Counter[bytes]:
        """How many requests are kept of each client."""
        return Counter(kept.client for kept in self.recent.snapshot())

    @property
    def ages(self) -> list[float]:
        """How long ago they were answered (seconds), the longest first."""
        return [self.now - kept.at for kept in self.recent.snapshot()]


def bodies(recent: RecentRequests) -> list[bytes]:
    """What is kept, the oldest first."""
    return [kept.body for kept in recent.snapshot()]


def test_while_there_is_room_each_distinct_one_is_kept() -> None:
    traffic = Traffic(3)
    for body in (b"1", b"2", b"1", b"3"):
        traffic.now += 0.001
        traffic.answer(A, body)
    assert bodies(traffic.recent) == [b"2", b"1", b"3"]


def test_the_last_answer_counts_and_another_content_type_is_another_request() -> None:
    recent = RecentRequests(4)
    recent.note(A, JSON, b"1", b"old", 1.0, 0.5)
    recent.note(B, JSON, b"1", b"new", 2.0, 0.25)
    recent.note(A, b"text/csv", b"1", b"csv", 3.0, 0.75)
    assert recent.snapshot() == (
        Kept(A, JSON, b"1", b"new", 2.0, 0.25),
        Kept(A, b"text/csv", b"1", b"csv", 3.0, 0.75),
    )
    assert recent.snapshot()[0].recorded == RecordedRequest(JSON, b"1", b"new")


def test_none_are_kept_where_none_are_wanted() -> None:
    traffic = Traffic(0)
    assert traffic.flood(A) == 0
    traffic.recent.carry_on(Kept(A, JSON, b"1", b"", 1.0, 0.5), b"answer", 2.0)
    assert traffic.recent.snapshot() == ()


def test_one_client_s_flood_does_not_keep_out_another_s_request() -> None:
    traffic = Traffic(32)
    traffic.flood(A)
    assert traffic.kept == {A: 32}
    assert traffic.answer(B)
    traffic.flood(A)
    assert traffic.kept == {A: 31, B: 1}
    assert traffic.recent.snapshot()[-1].body.startswith(B)


def test_one_client_s_flood_does_not_drive_out_what_others_sent() -> None:
    traffic = Traffic(32)
    traffic.flood(A, requests=32, seconds=HOUR)
    traffic.flood(B)
    assert traffic.kept == {A: 31, B: 1}
    # It may go on for as long as it likes.
    for _ in range(600):
        traffic.answer(A)
        traffic.flood(B, requests=100, seconds=6.0)
    assert traffic.kept == {A: 16, B: 16}


def test_room_is_made_by_who_has_most_and_not_by_who_was_first() -> None:
    traffic = Traffic(8)
    traffic.flood(A, requests=2)
    traffic.flood(B, requests=6)
    for client in (b"c", b"d", b"e"):
        traffic.now += 1.0
        traffic.answer(client)
    assert traffic.kept == {A: 2, B: 3, b"c": 1, b"d": 1, b"e": 1}


def test_a_flood_is_not_looked_at() -> None:
    traffic = Traffic(32)
    traffic.flood(A)
    assert traffic.flood(A, requests=100_000, seconds=60.0) == 0


@pytest.mark.parametrize("clients", [(A,), (A, B), (A, B, C)])
def test_what_is_kept_is_spread_over_the_last_hour(clients: tuple[bytes, ...]) -> None:
    traffic = Traffic(24)
    traffic.flood(A, seconds=0.1)
    for _ in range(4000):
        for client in clients:
            traffic.now += 2.0 / len(clients)
            traffic.answer(client)
    assert set(traffic.kept.values()) == {24 // len(clients)}
    ages = traffic.ages
    # One client's may lie on another's.
    assert max(before - after for before, after in pairwise(ages)) < 460
    assert 3000 < ages[0] <= HOUR + 10


def test_more_clients_than_places_have_one_each_and_take_turns() -> None:
    traffic = Traffic(8)
    clients = [b"client %d" % number for number in range(100)]
    for _ in range(1000):
        for client in clients:
            traffic.now += 0.1
            traffic.answer(client)
    assert set(traffic.kept.values()) == {1}
    assert max(traffic.ages) > HOUR / 2


def test_what_is_too_old_is_kept_until_newer_ones_come() -> None:
    traffic = Traffic(4)
    traffic.flood(A, requests=2)
    traffic.flood(B, requests=2)
    traffic.now += 3 * HOUR
    assert traffic.kept == {A: 2, B: 2}
    for _ in range(1000):
        traffic.flood(B, requests=10, seconds=10.0)
    # Nobody else has sent any for long.
    assert traffic.kept == {B: 4}


def test_they_are_bounded_in_bytes() -> None:
    traffic = Traffic(10_000)
    traffic.answer(A, bytes(2 * MEBIBYTE))
    assert traffic.recent.snapshot() == ()
    for number in range(60):
        traffic.answer(A, b"%d" % number + bytes(500_000), bytes(500_000))
        traffic.now += HOUR
    kept = traffic.recent.snapshot()
    assert 15 * MEBIBYTE < sum(len(r.body) + len(r.answer) for r in kept) <= 16 * MEBIBYTE
    assert kept[-1].body.startswith(b"59")


def test_they_are_bounded_in_bytes_where_the_answers_grow() -> None:
    traffic = Traffic(32)
    for answer in (b"", bytes(900_000)):
        for number in range(31):
            traffic.answer(A, b"%d" % number, answer)
    kept = traffic.recent.snapshot()
    assert 15 * MEBIBYTE < sum(len(r.body) + len(r.answer) for r in kept) <= 16 * MEBIBYTE


def test_what_is_carried_on_stays_what_it_is_but_for_the_answer() -> None:
    traffic = Traffic(4)
    traffic.flood(A)
    taken = traffic.recent.snapshot()
    traffic.recent = RecentRequests(4)
    for kept in taken:
        traffic.recent.carry_on(kept, b"new", traffic.now)
    assert [(k.client, k.body, k.at, k.answer) for k in traffic.recent.snapshot()] == [
        (k.client, k.body, k.at, b"new") for k in taken
    ]
    assert traffic.flood(A) == 0
    assert traffic.answer(B)
    assert traffic.kept == {A: 3, B: 1}


def test_what_was_answered_soonest_is_what_there_is_time_for() -> None:
    requests = [Kept(A, JSON, b"%d" % n, b"", 0.0, n) for n in (6.0, 1.0, 3.0, 4.0, 2.0)]
    assert [kept.seconds for kept in that_fit(requests, 9.0)] == [1.0, 3.0, 2.0]
    assert that_fit(requests, 0.5) == ()
    assert len(that_fit(requests, 16.0)) == 5


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
