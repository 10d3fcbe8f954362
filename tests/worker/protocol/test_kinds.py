"""The kind of an answer tells when rows have turned each other into something else."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from server.worker.protocol import kind_of_answer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [3]),
        (["a", "b"], ["c", None]),
        ([1.5, 2.5], [None, 3.5]),
        ([{"y": 1, "tags": ["a"]}], [{"y": 2, "tags": ["b", "c"]}, {"y": 3, "tags": ["d"]}]),
        ({"y": [1, 2]}, {"y": [3]}),
        (np.array([1, 2]), np.array([3])),
        (np.array(["a"]), np.array(["longer"])),
        (np.zeros((2, 3)), np.zeros((5, 3))),
        (np.array([1.5]), np.array([np.nan])),
        (np.array(["a", None], dtype=object), np.array(["b"], dtype=object)),
        (pd.Series([1, 2], name="y"), pd.Series([3], name="y")),
        (pd.Series(["a", None]), pd.Series(["b", "c"])),
        (pd.DataFrame({"y": [1], "z": ["a"]}), pd.DataFrame({"y": [2, 3], "z": ["b", "c"]})),
        (pd.array([1, None], dtype="Int64"), pd.array([2], dtype="Int64")),
    ],
)
def test_answers_of_one_kind(one: Any, other: Any) -> None:
    assert kind_of_answer(one) == kind_of_answer(other)


@pytest.mark.parametrize(
    ("known", "other"),
    [
        ([1, 2], [1.0, float("nan")]),
        ([1, 2], ["1", "unknown"]),
        ([1, 2], [True, False]),
        ([1, 2], (1, 2)),
        ([[1, 2]], [[1.0, None]]),
        ([{"y": 1}], [{"y": 1.0}]),
        ([{"y": 1}], [{"y": 1, "error": None}]),
        ({"y": [1]}, {"y": [1.0]}),
        ({"y": [1]}, {"y": [1], "error": [None]}),
        (np.array([1, 2]), np.array([1, 2.5])),
        (np.array([1, 2]), np.array(["1", "2"])),
        (np.array([1, 2]), np.array([1, None])),
        (np.array([1, 2], dtype=object), np.array([1.0, 2.0], dtype=object)),
        (np.zeros((2, 3)), np.zeros((2, 4))),
        (pd.Series([1, 2]), pd.Series([1, None])),
        (pd.Series([1, 2], name="y"), pd.Series([1, 2], name="z")),
        (pd.DataFrame({"y": [1]}), pd.DataFrame({"y": [1.5]})),
        (pd.DataFrame({"y": [1]}), pd.DataFrame({"y": [1], "error": [None]})),
        (pd.DataFrame({"y": [1]}), [{"y": 1}]),
    ],
)
def test_answers_of_another_kind(known: Any, other: Any) -> None:
    assert not kind_of_answer(other) <= kind_of_answer(known)


def test_an_answer_of_fewer_types_fits_one_of_more() -> None:
    assert kind_of_answer([1, 2]) < kind_of_answer([1, 2.5])
