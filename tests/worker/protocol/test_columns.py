"""Signatures of columns: the model gets what MLflow's scoring server would hand it."""

from typing import Any

import pytest
from mlflow.types.schema import AnyType, Array, DataType, Map, Object, Property

from tests.worker.protocol.conftest import Serve
from tests.worker.protocol.models import Describes, NamesItsInput
from tests.worker.protocol.support import columns, documents, mlflows_answer
from tests.worker.protocol.workers import assert_same_or_refused

VALUES: dict[str, list[list[Any]]] = {
    "boolean": [[True, False], [True]],
    "integer": [[1, -2, 2**31 - 1], [0]],
    "long": [[1, -2, 2**53 + 1, 10**17], [0], [2**63 - 1]],
    "float": [[0.1, 1e-30, -2.5], [0.1], [0.5, None], [None]],
    "double": [[0.1, 1e300, -2.5], [0.1], [1, 2], [1, 0.5], [2**53 + 1], [1, None], [None]],
    "string": [["a", "déjà vu", "", "1", "NaN"], ["text"], ["\U0001f600\t"]],
    "datetime": [["2024-05-06", "2023-01-02"], ["2024-05-06T07:08:09.123456"]],
}
"""Values that fit a type: several tables for each."""

ODD_VALUES: dict[str, list[list[Any]]] = {
    "boolean": [[1, 0], [True, None], ["a"]],
    "integer": [[1.5, 2.0], [True], [2**31]],
    "long": [[1.5, 2.0], [True, 2], [2**63], ["1"]],
    "float": [[1, 2], [2**53 + 1, 2**60 + 1], [True], ["1"]],
    "double": [[True, False], [True, 0.5], [2**64 + 1], ["1"]],
    "string": [["a", None], [1, 2], [1.5, "a"], [True], ["a\x00"]],
    "datetime": [[1, 2], [1.5], [True], [1, None], [1, "2024-05-06"]],
}
"""Values that MLflow converts in its own way for each format, or refuses."""

COMPLEX_VALUES: list[tuple[Any, list[Any]]] = [
    (Array(DataType.double), [[0.5, 1.5], [2.5]]),
    (Array(Array(DataType.long)), [[[1], [2, 3]]]),
    (Object([Property("a", DataType.string), Property("b", DataType.long, False)]), [{"a": "x"}]),
    (Map(DataType.string), [{"a": "x", "b": "y"}, {}]),
    (AnyType(), [{"a": [1]}, "x", None]),  # type: ignore[no-untyped-call]
]


def _cases(values: dict[str, list[list[Any]]]) -> list[Any]:
    return [
        pytest.param(type_, document, id=f"{type_}-{number}-{form}")
        for type_, tables in values.items()
        for number, table in enumerate(tables)
        for form, document in documents({"column": table}).items()
    ]


@pytest.mark.parametrize(("type_", "document"), _cases(VALUES))
def test_fitting_values(serve: Serve, type_: str, document: dict[str, Any]) -> None:
    served = serve(Describes, columns(column=type_))
    assert served.answer(document) == mlflows_answer(served.model, document)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("type_", "document"), _cases(ODD_VALUES))
def test_odd_values(serve: Serve, type_: str, document: dict[str, Any]) -> None:
    served = serve(Describes, columns(column=type_))
    assert_same_or_refused(served, document)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("type_", "values"), COMPLEX_VALUES)
def test_complex_columns(serve: Serve, type_: Any, values: list[Any]) -> None:
    served = serve(Describes, columns(column=type_))
    for document in documents({"column": values}).values():
        assert_same_or_refused(served, document)


@pytest.mark.parametrize("type_", ["long", "double", "string"])
def test_unnamed_columns(serve: Serve, type_: str) -> None:
    served = serve(Describes, columns(type_))
    for table in VALUES[type_]:
        for document in documents({"column": table}).values():
            assert_same_or_refused(served, document)
        rows = [[value] for value in table]
        for document in ({"inputs": rows}, {"dataframe_split": {"data": rows}}):
            assert served.answer(document) == mlflows_answer(served.model, document)


@pytest.mark.parametrize(
    "table",
    [
        {"a": [1, 2], "b": [0.5, 1.5], "c": ["x", "y"]},
        {"c": ["x", "y"], "b": [0.5, 1.5], "a": [1, 2]},
        {"a": [1, 2], "b": [0.5, 1.5]},
        {"more": ["not", "known"], "a": [1, 2], "b": [0.5, 1.5], "c": ["x", "y"]},
        {"more": [1, 2], "a": [1, 2], "b": [0.5, 1.5]},
        {"a": [1, 2], "c": ["x", "y"]},
        {"a": [1, "x"], "b": [0.5, 1.5]},
        {"a": [], "b": []},
    ],
    ids=["all", "order", "optional", "extra", "extra-optional", "missing", "wrong", "empty"],
)
def test_several_columns(serve: Serve, table: dict[str, list[Any]]) -> None:
    served = serve(Describes, columns(a="long", b="double", c="string?"))
    for document in documents(table).values():
        assert_same_or_refused(served, document)


@pytest.mark.parametrize(
    "table",
    [
        {"a": [0.5, 1.5], "b": [1, 2], "c": [None, 0.5]},
        {"c": [0.5], "a": [0.5], "b": [1.5]},
        {"a": [0.5], "b": [1.5]},
        {"more": ["x", "y"], "a": [0.5, 1], "b": [1.5, 2], "c": [2.5, 3]},
    ],
    ids=["all", "order", "optional", "extra"],
)
def test_columns_of_one_type(serve: Serve, table: dict[str, list[Any]]) -> None:
    served = serve(Describes, columns(a="double", b="double", c="double?"))
    for document in documents(table).values():
        assert served.answer(document) == mlflows_answer(served.model, document)


@pytest.mark.parametrize(("rows", "width"), [(1, 600), (2_000, 6)])
@pytest.mark.parametrize("types", [["double"], ["long"], ["float"], ["double", "long", "string"]])
def test_large_tables(serve: Serve, rows: int, width: int, types: list[str]) -> None:
    samples: dict[str, Any] = {"double": 0.1, "float": 0.1, "long": 2**53 + 1, "string": "text"}
    types = [types[place % len(types)] for place in range(width)]
    table = {f"c{place}": [samples[type_]] * rows for place, type_ in enumerate(types)}
    served = serve(Describes, columns(**dict(zip(table, types, strict=True))))
    for document in documents(table).values():
        assert served.answer(document) == mlflows_answer(served.model, document)
    table["c0"][-1] = None
    for document in documents(table).values():
        assert_same_or_refused(served, document)


def test_rows_of_several_unnamed_types(serve: Serve) -> None:
    # MLflow converts all columns to the type of the first, and refuses what becomes of them.
    served = serve(Describes, columns("long", "string"))
    named = mlflows_answer(served.model, {"dataframe_split": {"data": [[1, "a"], [2, "b"]]}})
    assert served.answer({"instances": [[1, "a"], [2, "b"]]}) == named


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [["x", 1], ["y", 2]]},
        {"inputs": [["x", 1], ["y", 2]]},
        {"dataframe_split": {"data": [["x", 1], ["y", 2]]}},
    ],
)
def test_rows_as_lists_are_named_by_the_signature(serve: Serve, document: Any) -> None:
    served = serve(Describes, columns(text="string", count="long"))
    named = {"dataframe_records": [{"text": "x", "count": 1}, {"text": "y", "count": 2}]}
    assert served.answer(document) == mlflows_answer(served.model, named)


@pytest.mark.parametrize(
    "document",
    [
        {"instances": ["t"]},
        {"instances": [["t"]]},
        {"instances": {"text": "t"}},
        {"instances": {"text": ["t"]}},
        {"instances": [{"text": "t"}]},
        {"instances": "t"},
        {"inputs": ["t"]},
        {"inputs": "t"},
        {"dataframe_split": {"data": [["t"]]}},
    ],
)
def test_ways_to_send_one_text(serve: Serve, document: Any) -> None:
    served = serve(Describes, columns(text="string"))
    assert served.answer(document) == mlflows_answer(served.model, {"instances": ["t"]})


@pytest.mark.parametrize(
    "payload",
    [
        {"dataframe_records": {"a": [1], "b": [0.5]}},
        {"dataframe_records": [[1, 0.5]]},
        {"dataframe_records": ["x"]},
        {"dataframe_split": {"data": {"a": [1], "b": [0.5]}}},
        {"dataframe_split": {"columns": ["a"], "data": {"a": [1], "b": [0.5]}}},
        {"dataframe_split": {"columns": ["a", "b"], "data": {"b": [0.5], "a": [1]}}},
        {"dataframe_split": {"data": [{"a": 1, "b": 0.5}]}},
        {"dataframe_split": {"columns": ["b", "a"], "data": [{"a": 1, "b": 0.5}]}},
        {"dataframe_split": {"data": [1, 2]}},
        {"dataframe_split": {"data": 1}},
        {"dataframe_split": {"data": None}},
    ],
)
@pytest.mark.parametrize("signature", [columns(a="long", b="double?"), columns("long"), None])
def test_other_shapes_in_dataframe_formats(serve: Serve, payload: Any, signature: Any) -> None:
    assert_same_or_refused(serve(Describes, signature), payload)


def test_models_that_name_their_columns_index_do_not_share_it(serve: Serve) -> None:
    served = serve(NamesItsInput, columns(text="string"))
    first = served.answer({"instances": ["t"]})
    assert served.answer({"instances": ["t"]}) == first
