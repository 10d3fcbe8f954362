"""What is remembered of which requests share predictions."""

from typing import Any

import pytest

from server.worker.merging.merge_keys import MergeKeys
from server.worker.merging.together import Answered
from server.worker.protocol import MergeKey, Request, kind_of_answer
from server.worker.protocol.tables import ArrayKind, Kind, LargeInteger

NULL = type(None)
ONE = kind_of_answer([1])


def key(*kinds: Kind, outline: Any = "known") -> MergeKey:
    return MergeKey("instances", outline, kinds)


def member(of: MergeKey, row: Any = 0) -> Answered:
    """An answered request of a key."""
    return Answered(Request("instances", [row], None, 1, of), b"")


def agree(keys: MergeKeys, of: MergeKey, count: int, rows: int = 8, kind: Any = ONE) -> None:
    """Have so many predictions of different rows agree."""
    for _ in range(count):
        keys.agree([member(of, row) for row in range(rows)], kind, rows)


def test_keys_that_clients_make_up_take_no_more_memory_than_so_much() -> None:
    keys = MergeKeys()
    keys.prove(key(int), ONE)
    made_up = [key(int, outline=number) for number in range(10_000)]
    for one in made_up:
        if keys.on_trial(one):
            keys.agree([member(one)], ONE, rows=2)
    for one in made_up:
        if keys.on_trial(one):
            keys.bar([member(one)])
    assert not any(map(keys.on_trial, made_up))
    # Tried no more, and never merged.
    assert not any(map(keys.merges, made_up))
    assert keys.merges(key(int))


@pytest.mark.parametrize(
    ("answers", "merged"),
    [([[1], [2.5]] * 4, False), ([[1], [2.5], [1, 2.5], [2]] * 2, True)],
    ids=["either", "both in one"],
)
def test_answers_of_two_kinds_are_merged_only_if_they_were_seen_side_by_side(
    answers: list[Any], merged: bool
) -> None:
    keys = MergeKeys(tries=True)
    tried = key(int)
    for answer in answers:
        assert keys.on_trial(tried)
        agree(keys, tried, 1, kind=kind_of_answer(answer))
    assert (keys.merges(tried), keys.on_trial(tried)) == (merged, False)


def test_equal_rows_count_but_do_not_suffice() -> None:
    keys = MergeKeys(tries=True)
    for _ in range(100):
        keys.agree([member(key(int))] * 8, ONE, rows=8)
    assert keys.on_trial(key(int))
    keys.agree([member(key(int), row) for row in range(2)], ONE, rows=8)
    assert keys.on_trial(key(int))
    keys.agree([member(key(int), 2)], ONE, rows=8)
    assert keys.merges(key(int))


def test_nothing_is_tried_any_more_once_three_keys_have_differed() -> None:
    keys = MergeKeys(tries=True)
    for number in range(3):
        assert keys.on_trial(key(str, outline="other"))
        keys.bar([member(key(int, outline=number))])
    assert not keys.any_tried
    assert not keys.on_trial(key(str, outline="other"))


def proved(*kinds: Kind) -> MergeKeys:
    """Keys of which one is proved, by a row that others may be tried with."""
    keys = MergeKeys()
    keys.prove(key(*kinds), ONE, [member(key(*kinds), "witness")])
    return keys


@pytest.mark.parametrize(
    ("base", "other"),
    [
        ([float, str], [NULL, str]),
        ([float, str], [float, NULL]),
        ([list, int], [NULL, int]),
        ([dict], [NULL]),
    ],
)
def test_what_lacks_values_is_tried_beside_what_does_not(base: list[Any], other: list[Any]) -> None:
    keys = proved(*base)
    assert keys.standing(key(*other)).base == key(*base)
    assert keys.witnesses(member(key(*other))) == [member(key(*base), "witness")]
    assert not keys.merges(key(*other))
    agree(keys, key(*other), 4)
    assert keys.merges(key(*other))
    assert keys.merges(key(*base))


@pytest.mark.parametrize(
    ("base", "other"),
    [
        # A column of integers or truth values becomes another one beside nulls, or floats.
        ([int], [NULL]),
        ([bool], [NULL]),
        ([float], [int]),
        ([int], [float]),
        ([NULL], [float]),
        ([LargeInteger], [int]),
        ([LargeInteger], [NULL]),
        ([float], [str]),
        ([float], [bool]),
        ([float], [float, float]),
        ([ArrayKind((2,), float)], [ArrayKind((3,), float)]),
        ([ArrayKind((2,), float)], [NULL]),
        ([ArrayKind((), float)], [ArrayKind((), NULL)]),
        ([list], [dict]),
    ],
)
def test_other_kinds_are_tried_by_themselves(base: list[Any], other: list[Any]) -> None:
    keys = proved(*base)
    assert keys.standing(key(*other)).base is None
    assert keys.on_trial(key(*other))
    agree(keys, key(*other), 8)
    assert keys.standing(key(*other)).base == key(*other)


def test_without_a_row_to_be_tried_with_what_lacks_values_is_tried_by_itself() -> None:
    keys = MergeKeys()
    keys.prove(key(float), ONE)
    assert keys.standing(key(NULL)).base is None


def test_each_column_counts_by_itself_and_no_pattern_is_tried() -> None:
    keys = proved(*[float] * 20)
    for column in range(20):
        kinds = [NULL if place == column else float for place in range(20)]
        agree(keys, key(*kinds), 4)
    assert keys.merges(key(*[NULL, float] * 10))


def test_what_matters_beside_others_is_tried_by_itself() -> None:
    keys = proved(float, float)
    keys.bar([member(key(NULL, float))])
    assert keys.standing(key(NULL, float)).base is None
    assert keys.on_trial(key(NULL, float))
    agree(keys, key(NULL, float), 8)
    # By itself it may, but beside the others it still may not.
    assert keys.standing(key(NULL, float)).base == key(NULL, float)
    assert keys.standing(key(float, NULL)).base == key(float, float)


def test_of_what_lacks_several_values_only_that_is_barred() -> None:
    keys = proved(float, float, float)
    keys.bar([member(key(NULL, NULL, NULL))])
    assert keys.standing(key(NULL, NULL, NULL)).base is None
    agree(keys, key(NULL, float, float), 4)
    assert keys.merges(key(NULL, float, float))


def test_an_answer_of_another_kind_beside_others_bars() -> None:
    keys = MergeKeys()
    keys.prove(key(float), kind_of_answer([1.5]), [member(key(float))])
    keys.agree([member(key(NULL))], kind_of_answer([1]), rows=5)
    assert keys.standing(key(NULL)).base is None
    assert keys.merges(key(float))


def test_what_is_kept_of_clients_is_bounded_in_bytes() -> None:
    keys = MergeKeys(tries=True)
    size = 256 * 1024
    for number in range(100):
        one = key(int, outline=number)
        keys.meet(Answered(Request("instances", [number], None, 1, one, size=size), b""))
    kept = sum(
        request.size
        for number in range(100)
        for request, _ in keys.witnesses(member(key(int, outline=number)))
    )
    assert 0 < kept <= 4 * size


def test_a_key_that_is_dropped_leaves_others() -> None:
    keys = MergeKeys()
    keys.prove(key(float), ONE)
    keys.prove(key(str), ONE)
    keys.drop(key(float))
    assert (keys.merges(key(float)), keys.on_trial(key(float))) == (False, False)
    assert keys.merges(key(str))


def test_nothing_is_merged_after_all_has_been_barred() -> None:
    keys = MergeKeys()
    keys.prove(key(float), ONE)
    keys.bar_all()
    assert (keys.any_merges, keys.any_tried, keys.formats) == (False, False, frozenset())
