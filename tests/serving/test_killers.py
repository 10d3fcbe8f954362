"""What is remembered of requests that ended a worker."""

import pytest
from structlog.testing import capture_logs

from server.errors import KnownRequest, TimedOutBefore, WorkerDiedBefore
from server.serving.digests import digest_of
from server.serving.killers import MOST_KILLERS, RETRIAL_SECONDS, Killers
from tests.support.clock import Clock


@pytest.fixture
def killers(clock: Clock) -> Killers:
    """Knows nothing yet."""
    return Killers("v1", clock)


def digest(text: str) -> bytes:
    """The digest of a JSON body."""
    return digest_of(b"application/json", text.encode())


def remember(killers: Killers, text: str, error: type[KnownRequest] = WorkerDiedBefore) -> None:
    """Remember a JSON body."""
    killers.remember(digest(text), len(text), error)


def test_the_digest_is_that_of_content_type_and_body() -> None:
    one = digest_of(b"text/csv", b"a")
    assert one == digest_of(b"text/csv", b"a")
    assert len({one, digest_of(b"text/csv", b"b"), digest_of(b"text/cs", b"va")}) == 3


@pytest.mark.parametrize("error", [WorkerDiedBefore, TimedOutBefore])
def test_it_is_refused_with_what_it_did(killers: Killers, error: type[KnownRequest]) -> None:
    remember(killers, "killer", error)
    assert type(killers.refusal(digest("killer"))) is error
    assert digest("killer") in killers
    assert digest("others") not in killers


def test_only_bodies_of_a_remembered_length_need_a_digest(killers: Killers) -> None:
    assert not killers.lengths
    remember(killers, "one")
    remember(killers, "two")
    remember(killers, "three")
    killers.forget(digest("one"))
    assert set(killers.lengths) == {3, 5}
    killers.forget(digest("two"))
    killers.forget(digest("three"))
    assert not killers.lengths


def test_what_is_remembered_again_is_forgotten_by_one_clean_answer(killers: Killers) -> None:
    remember(killers, "killer")
    remember(killers, "killer", TimedOutBefore)
    killers.forget(digest("killer"))
    killers.forget(digest("killer"))
    assert not killers.lengths
    assert digest("killer") not in killers


def test_it_is_tried_again_once_a_minute(killers: Killers, clock: Clock) -> None:
    remember(killers, "killer")
    clock.now += RETRIAL_SECONDS - 0.1
    assert killers.refusal(digest("killer"))
    clock.now += 0.2
    assert killers.refusal(digest("killer")) is None
    # What comes while it is being tried, too.
    assert killers.refusal(digest("killer"))
    clock.now += RETRIAL_SECONDS
    assert killers.refusal(digest("killer")) is None


def test_it_is_not_refused_before_it_is_proved_to_be_at_fault(killers: Killers) -> None:
    killers.remember(digest("maybe"), 5, TimedOutBefore, proved=False)
    assert digest("maybe") in killers
    assert killers.lengths == {5: 1}
    assert [killers.refusal(digest("maybe")) for _ in range(2)] == [None, None]
    remember(killers, "maybe", TimedOutBefore)
    assert isinstance(killers.refusal(digest("maybe")), TimedOutBefore)


def test_the_oldest_of_too_many_is_forgotten(killers: Killers) -> None:
    for number in range(MOST_KILLERS):
        remember(killers, f"{number:04}")
    remember(killers, "0000")
    remember(killers, "one more")
    assert digest("0000") in killers
    assert digest("0001") not in killers
    assert killers.lengths == {4: MOST_KILLERS - 1, 8: 1}


def test_refusals_are_logged_at_most_once_a_minute(killers: Killers, clock: Clock) -> None:
    remember(killers, "killer")
    with capture_logs() as events:
        for _ in range(3):
            killers.refusal(digest("killer"))
        clock.now += 59.0
        killers.refusal(digest("killer"))
        remember(killers, "killer")
        clock.now += 1.0
        killers.refusal(digest("killer"))
    assert [(e["event"], e["log_level"], e["requests"]) for e in events] == [
        ("killers_refused", "warning", 1),
        ("killers_refused", "warning", 4),
    ]
    assert {e["digest"] for e in events} == {digest("killer").hex()[:12]}
