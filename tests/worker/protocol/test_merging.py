"""Merged requests get what each would get alone."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array, Map, Object, Property

from server.worker.protocol import InvalidInput, ModelError, Protocol
from server.worker.protocol.merging import split
from tests.worker.protocol.conftest import Load
from tests.worker.protocol.models import Describes, Echo, Spoils, Texts, Words
from tests.worker.protocol.support import JSON, assert_same, columns, documents, tensor


def key(protocol: Protocol, document: Any) -> Any:
    """Return a document's merge key."""
    return protocol.parse(JSON, json.dumps(document).encode()).merge_key


def assert_merges(protocol: Protocol, *some: dict[str, Any]) -> None:
    """Assert that documents may be merged, and that each then gets what it gets alone."""
    requests = [protocol.parse(JSON, json.dumps(document).encode()) for document in some]
    (only,) = {request.merge_key for request in requests}
    assert only is not None
    rows = [request.rows or 0 for request in requests]
    merged = protocol.merge(requests)
    assert merged.rows == sum(rows)
    assert merged.params == requests[0].params
    answers = protocol.predict(merged)
    bounds = pairwise(np.cumsum([0, *rows]))
    pieces = protocol.split(answers, rows)
    for request, piece, (start, end) in zip(requests, pieces, bounds, strict=True):
        alone = protocol.predict(request)
        assert_same(_part(answers, start, end), alone)
        assert protocol.encode(request, piece) == protocol.encode(request, alone)


def _part(answers: Any, start: int, end: int) -> Any:
    if isinstance(answers, pd.DataFrame):
        # A copy, to have the memory order of a frame of its own.
        part = answers.iloc[start:end].reset_index(drop=True)
        # An index that is no range was sent by the client, and counts.
        counted = not isinstance(answers.index, pd.RangeIndex)
        index = pd.Index([*range(len(part))]) if counted else None
        columns = {name: column.array.copy() for name, column in part.items()}
        return pd.DataFrame(columns, index=index)
    if isinstance(answers, dict):
        return {name: _part(values, start, end) for name, values in answers.items()}
    part = answers[start:end]
    # An array of text is as wide as its longest.
    return (
        np.array(part.tolist()) if isinstance(part, np.ndarray) and part.dtype.kind == "U" else part
    )


@pytest.mark.parametrize(
    "values",
    [
        [["a"], ["b", "longer"], ["déjà vu"]],
        [[["a"]], [["b"], ["longer"]]],
        [[1, None], [None, 2]],
        [["a", None], [None, "b", "c"]],
    ],
)
def test_texts(load: Load, values: list[list[Any]]) -> None:
    protocol = Protocol(load(Echo, columns(text="string")))
    assert_merges(protocol, *({"instances": rows} for rows in values))
    assert_merges(protocol, *({"inputs": rows} for rows in values))


@pytest.mark.parametrize(
    "form",
    [
        "split",
        "records",
        "instances of records",
        "instances of columns",
        "inputs of columns",
        "instances of one",
        "inputs of one",
    ],
)
@pytest.mark.parametrize("declared", [True, False])
def test_every_form(load: Load, form: str, declared: bool) -> None:
    signature = columns(a="long", b="double", c="string", d="boolean", e="double")
    protocol = Protocol(load(Echo, signature if declared else None))
    tables: list[dict[str, list[Any]]] = [
        {"a": [1], "b": [0.5], "c": ["x"], "d": [True], "e": [1]},
        {"a": [2, 3], "b": [1.5, 2.5], "c": ["yy", "z"], "d": [False, True], "e": [2**40, 3]},
    ]
    if form.endswith("of one"):
        tables[1] = {name: values[:1] for name, values in tables[1].items()}
    some = [documents(table)[form] for table in tables]
    if form.endswith("of one") and not declared:
        assert {key(protocol, document) for document in some} == {None}
    else:
        assert_merges(protocol, *some)


def test_tensors(load: Load) -> None:
    protocol = Protocol(load(Echo, tensor("float64", -1, 2)))
    assert_merges(protocol, {"inputs": [[1.5, 2.5]]}, {"inputs": [[3.5, 4.5], [5.5, 6.5]]})
    assert key(protocol, {"inputs": [[1.5, 2.5]]}) != key(protocol, {"inputs": [[1.5, 2.5, 3.5]]})
    # What does not fit is refused alone as well.
    assert key(protocol, {"inputs": [[1.5, 2.5]]}) != key(protocol, {"inputs": [[[1.5], [2.5]]]})


@pytest.mark.parametrize("shape", [(2, 3), (1,), (3, 2, 2)], ids=str)
@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_arrays_of_any_rank(load: Load, shape: tuple[int, ...], named: bool) -> None:
    signature = tensor("float32", -1, *shape, name="image" if named else None)
    protocol = Protocol(load(Echo, signature))
    chance = np.random.default_rng(0)
    arrays = [chance.normal(size=(1, *shape)).tolist() for _ in range(3)]
    if named:
        assert_merges(protocol, *({"inputs": {"image": array}} for array in arrays))
        assert_merges(protocol, *({"instances": [{"image": array[0]}]} for array in arrays))
    else:
        assert_merges(protocol, *({"inputs": array} for array in arrays))
        assert_merges(protocol, *({"instances": array} for array in arrays))


def test_arrays_of_other_shapes_or_kinds_have_other_keys(load: Load) -> None:
    protocol = Protocol(load(Echo))
    arrays = ([[1.5]], [[1.5, 2.5]], [[1.5], [2.5]], [[[1.5]]], [[1]], [["a"]], [[True]])
    keys = [key(protocol, {"instances": [array]}) for array in arrays]
    assert None not in keys
    assert len({*keys}) == len(arrays)
    odd_ones: list[Any] = [[[1.5], [2.5, 3.5]], [[1.5], 2.5], [[]], [[{"a": 1}]]]
    for odd in odd_ones:
        assert key(protocol, {"instances": [odd]}) is None


@pytest.mark.parametrize("form", ["split", "records", "inputs of records"])
@pytest.mark.parametrize(
    ("type_", "cells"),
    [
        (Array(DataType.double), [[1.5, 2.5], [3.5], [4.5, 5.5, 6.5]]),
        (Array(Array(DataType.long)), [[[1], [2]], [[3, 4]], [[5]]]),
        (Object([Property("a", DataType.long)]), [{"a": 1}, {"a": 2}, {"a": 3}]),
        (Map(DataType.string), [{"a": "x"}, {"b": "y"}, {"c": "z", "d": ""}]),
    ],
    ids=["array", "array of arrays", "object", "map"],
)
def test_arrays_objects_and_maps_in_cells(
    load: Load, form: str, type_: Any, cells: list[Any]
) -> None:
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.double, "x"), ColSpec(type_, "cell")])
    )
    protocol = Protocol(load(Describes, signature))
    rows = [{"x": place + 0.5, "cell": cell} for place, cell in enumerate(cells)]
    documents_of: list[dict[str, Any]] = []
    for row in rows:
        forms: dict[str, dict[str, Any]] = {
            "split": {"dataframe_split": {"columns": [*row], "data": [[*row.values()]]}},
            "records": {"dataframe_records": [row]},
            "inputs of records": {"inputs": [row]},
        }
        documents_of.append(forms[form])
    requests = [protocol.parse(JSON, json.dumps(one).encode()) for one in documents_of]
    (only,) = {request.merge_key for request in requests}
    assert only is not None
    together = protocol.predict(protocol.merge(requests))
    alone = [protocol.predict(request) for request in requests]
    assert [row for [row] in map(rows_of, alone)] == rows_of(together)


def rows_of(answer: Any) -> list[Any]:
    """The rows of what the model describes, whichever way it got them."""
    cells = answer["cells"]
    return [*map(list, zip(*cells, strict=True))] if "columns" in answer else cells


def test_dates(load: Load) -> None:
    protocol = Protocol(load(Echo, columns(a="datetime", b="double")))
    dates = ["2024-02-13", "2024-02-13T10:30:00", "2024-02-13 10:30:00.123456Z", "1999-01-01"]
    for name in ("dataframe_records", "instances", "inputs"):
        assert_merges(protocol, *({name: [{"a": date, "b": 1.5}]} for date in dates))
    # pandas reads others in the format of the first of them.
    for other in ("13/02/2024", "Feb 13 2024", "2024-02-13T10", "2024-02-13 10:30:00,250"):
        assert key(protocol, {"dataframe_records": [{"a": other, "b": 1.5}]}) is None


def test_whole_numbers_in_a_column_of_floats_are_no_other_kind(load: Load) -> None:
    protocol = Protocol(load(Echo, columns(a="double", b="double")))
    assert_merges(
        protocol,
        {"dataframe_records": [{"a": 1, "b": 2.5}]},
        {"dataframe_records": [{"a": 1.5, "b": 2**56 + 1}]},
        {"dataframe_records": [{"a": 0.5, "b": 2}]},
    )


def test_integers_that_no_float_holds_are_kept_apart_where_there_may_be_floats(load: Load) -> None:
    protocol = Protocol(load(Echo))
    assert key(protocol, {"instances": [2**53]}) != key(protocol, {"instances": [2**53 + 1]})


def test_type_hints(load: Load) -> None:
    assert_merges(Protocol(load(Texts)), {"inputs": ["a"]}, {"inputs": ["b", "c"]})
    words = [{"inputs": [{"text": word, "count": 2}]} for word in "abc"]
    assert_merges(Protocol(load(Words)), *words)


BASE = {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"]]}}


@pytest.mark.parametrize(
    "other",
    [
        {"dataframe_records": [{"a": 1, "b": "x"}]},
        {"instances": [{"a": 1, "b": "x"}]},
        {"dataframe_split": {"columns": ["b", "a"], "data": [["x", 1]]}},
        {"dataframe_split": {"columns": ["a"], "data": [[1]]}},
        {"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, "x", 1]]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [["1.0", "x"]]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[True, "x"]]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[None, "x"]]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [None, "x"]]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, None]]}},
        BASE | {"params": {}},
        BASE | {"params": {"k": 1}},
    ],
)
def test_what_does_not_merge_with_another(load: Load, other: Any) -> None:
    for protocol in (Protocol(load(Echo)), Protocol(load(Echo, columns(a="double", b="string")))):
        assert key(protocol, BASE) is not None
        assert key(protocol, other) != key(protocol, BASE)


def test_params_of_different_types_differ(load: Load) -> None:
    protocol = Protocol(load(Echo))
    keys = {key(protocol, BASE | {"params": {"k": value}}) for value in (1, 1.0, True, "1", None)}
    assert len(keys) == 5


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": ["a"], "data": [[1]], "index": [1]}},
        {"dataframe_split": {"columns": ["a"], "data": [[1]], "index": [0.0]}},
        {"dataframe_split": {"columns": ["a"], "data": [[1]], "index": [False]}},
        {"dataframe_split": {"columns": ["a"], "data": [[1], [2]], "index": [0, 2]}},
        {"dataframe_split": {"columns": ["a"], "data": []}},
        {"dataframe_split": {"columns": [1], "data": [[1]]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [1]]}},
        {"dataframe_records": []},
        {"dataframe_records": [{"a": 1}, {"b": 1}]},
        {"instances": []},
        {"instances": [[[1], []]]},
        {"instances": [{"a": {"b": 1}}]},
        {"instances": [1, [1]]},
        {"instances": [[]]},
        {"instances": {"a": [1], "b": [1, 2]}},
        {"inputs": {"a": []}},
        {"inputs": {"a": 1, "b": [1]}},
        {"inputs": 1},
        {"inputs": None},
        {"prompt": "a"},
        {"instances": [2**63]},
        {"instances": ["a" * 262_144]},
        {"instances": [1], "params": {"k": [[]] * 2, "deep": json.loads("[" * 300 + "]" * 300)}},
    ],
)
def test_what_never_merges(load: Load, document: Any) -> None:
    assert key(Protocol(load(Echo)), document) is None


@pytest.mark.parametrize(
    "signature",
    [
        tensor("float64", 2),
        tensor("float64"),
    ],
)
def test_signatures_that_never_merge(load: Load, signature: Any) -> None:
    protocol = Protocol(load(Echo, signature))
    assert key(protocol, {"instances": [1]}) is None
    assert key(protocol, {"dataframe_split": {"columns": ["a"], "data": [["13/02/2024"]]}}) is None


def test_one_bad_row_refuses_the_merged_request_only(load: Load) -> None:
    protocol = Protocol(load(Echo, columns(a="double")))
    some = [protocol.parse(JSON, b'{"instances": ["%s"]}' % text) for text in (b"1", b"x", b"2")]
    with pytest.raises(InvalidInput, match='row 1 has a string "x"'):
        protocol.predict(protocol.merge(some))
    assert protocol.predict(some[0])["a"].tolist() == [1.0]


def test_a_model_that_spoils_a_merged_input_does_not_spoil_the_requests(load: Load) -> None:
    protocol = Protocol(load(Spoils))
    requests = [
        protocol.parse(JSON, b'{"inputs": [{"text": "%s"}]}' % text) for text in (b"a", b"b")
    ]
    with pytest.raises(ModelError, match="too many"):
        protocol.predict(protocol.merge(requests))
    assert [protocol.predict(request) for request in requests] == [["a"], ["b"]]


@pytest.mark.parametrize(
    "answer",
    [
        [1, 2, 3],
        ["a", "b", "c"],
        [[1, 2], [3, 4], [5, 6]],
        np.array([1.5, 2.5, 3.5], dtype="float32"),
        np.arange(12).reshape(3, 2, 2),
        pd.Series([1, 2, 3], name="x", index=[7, 8, 9]),
        pd.Series(["a", None, "c"]),
        pd.DataFrame({"label": ["a", "b", "c"], "score": [0.5, np.nan, 1.5]}, index=list("xyz")),
        {"label": ["a", "b", "c"], "score": np.array([0.5, 1.5, 2.5])},
        {"outer": {"inner": [1, 2, 3]}},
        pd.Index([1, 2, 3]),
        pd.array([1, None, 3], dtype="Int64"),
    ],
)
def test_split(load: Load, answer: Any) -> None:
    protocol = Protocol(load(Echo))
    request = protocol.parse(JSON, b'{"instances": [1]}')
    whole = json.loads(protocol.encode(request, answer))["predictions"]
    first, second = (
        json.loads(protocol.encode(request, piece))["predictions"]
        for piece in split(answer, [1, 2])
    )
    if isinstance(answer, dict):
        assert first == _cut(whole, 0, 1)
        assert second == _cut(whole, 1, 3)
    else:
        assert [*first, *second] == whole
        assert len(first) == 1


def _cut(value: Any, start: int, end: int) -> Any:
    if isinstance(value, dict):
        return {key: _cut(item, start, end) for key, item in value.items()}
    return value[start:end]


@pytest.mark.parametrize(
    "answer",
    [
        [1, 2],
        [1, 2, 3, 4],
        [],
        np.array(3),
        np.zeros((2, 3)),
        "abc",
        b"abc",
        (1, 2, 3),
        {"label": ["a", "b", "c"], "score": [0.5]},
        {"label": ["a", "b", "c"], "model": "x"},
        {},
        None,
        3,
        (value for value in (1, 2, 3)),
    ],
)
def test_answers_that_cannot_be_split(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"the model answered|no rows to cut"):
        split(answer, [1, 2])


def test_an_index_that_counts_the_rows_goes_on_counting(load: Load) -> None:
    protocol = Protocol(load(Echo))
    frames = [pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [3]})]
    bodies = [{"dataframe_split": frame.to_dict(orient="split")} for frame in frames]
    requests = [protocol.parse("application/json", orjson.dumps(body)) for body in bodies]
    merged = protocol.merge(requests)
    assert merged.payload == {"columns": ["a"], "data": [[1], [2], [3]], "index": [0, 1, 2]}
    assert merged.rows == 3
    without = protocol.parse(
        "application/json", orjson.dumps({"dataframe_split": {"columns": ["a"], "data": [[1]]}})
    )
    assert without.merge_key != requests[0].merge_key is not None
