"""Columns whose names are numbers, as `DataFrame(ndarray)` has them, and JSON and CSV have not."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from server.worker.protocol import Protocol
from tests.worker.protocol.conftest import Load, Serve
from tests.worker.protocol.describing import description
from tests.worker.protocol.models import Describes, Echo
from tests.worker.protocol.support import columns, documents, mlflows_answer
from tests.worker.protocol.test_csv import CSV
from tests.worker.protocol.test_merging import assert_merges
from tests.worker.protocol.test_parquet import PARQUET, parquet


def numbered(*names: Any, type_: str = "double", required: bool = True) -> ModelSignature:
    """Return a signature of columns with these names."""
    # MLflow's own inference of a signature makes such names, though the types speak of text.
    specs: list[ColSpec | Any] = [ColSpec(type_, name, required=required) for name in names]
    return ModelSignature(inputs=Schema(specs))


def frame(*names: Any, type_: Any = "float64") -> pd.DataFrame:
    """Return a frame of two rows in which the column `n` holds `n` and `n + 100`."""
    values = np.array([[*names], [name + 100 for name in names]], dtype=type_)
    return pd.DataFrame(values, columns=[*names])


def seen(answer: Any) -> Any:
    """Return what the model saw, but for the order in memory."""
    return answer | {"memory": None}


def unlabelled(answer: Any) -> Any:
    """Return what the model saw, but for the labels of the rows, too."""
    return answer | {"index": None, "memory": None}


NAMES = [(0, 1, 2), (2, 0, 1), (1, 0), (0, 2, 1), (10, 20), (1.5, 2.5)]


@pytest.mark.parametrize("names", NAMES)
# Integers for a float are left to MLflow.
@pytest.mark.parametrize(("type_", "sent"), [("float64", "float64"), ("float32", "int64")])
def test_numbers_for_names_are_matched_with_text(
    serve: Serve, names: tuple[Any, ...], type_: Any, sent: str
) -> None:
    served = serve(Describes, numbered(*names, type_="float" if type_ == "float32" else "double"))
    columns = frame(*reversed(names), type_=sent)
    expected = unlabelled(description(frame(*names, type_=sent).astype(type_)))
    table: dict[str, Any] = {str(name): columns[name].tolist() for name in columns}
    for form, document in documents(table).items():
        assert unlabelled(served.answer(document)) == expected, form
    split = {"dataframe_split": columns.to_dict(orient="split")}
    assert unlabelled(served.answer(split)) == expected


@pytest.mark.parametrize("names", NAMES)
def test_numbers_for_names_in_csv_and_parquet(serve: Serve, names: tuple[Any, ...]) -> None:
    served = serve(Describes, numbered(*names))
    sent = frame(*reversed(names))
    expected = seen(description(frame(*names)))
    assert seen(served.answer_to(sent.to_csv(index=False).encode(), CSV)) == expected
    assert seen(served.answer_to(parquet(sent), PARQUET)) == expected


@pytest.mark.parametrize("names", [(0, 1, 2), (0, 2, 1), (10, 20)])
def test_numbers_for_names_are_matched_as_by_mlflow(serve: Serve, names: tuple[int, ...]) -> None:
    served = serve(Describes, numbered(*names))
    rows = frame(*names).to_numpy().tolist()
    some: list[Any] = [{"dataframe_split": {"columns": [*names], "data": rows}}]
    if 0 in names:
        # Rows without names have the columns 0, 1, 2.
        some += [{"dataframe_split": {"data": rows}}, {"inputs": rows}, {"instances": rows}]
    for document in some:
        expected: Any = mlflows_answer(served.model, document)
        assert seen(served.answer(document)) == seen(expected), document


def test_rows_without_names_have_their_columns_by_number(serve: Serve) -> None:
    # MLflow drops the column 0 of this signature.
    served = serve(Describes, numbered(2, 0, 1))
    expected = seen(description(frame(2, 0, 1)))
    rows = frame(0, 1, 2).to_numpy().tolist()
    some: list[Any] = [
        {"inputs": rows},
        {"instances": rows},
        {"dataframe_split": {"data": rows}},
    ]
    for document in some:
        assert seen(served.answer(document)) == expected, document


def test_text_for_names_is_matched_with_numbers(serve: Serve) -> None:
    served = serve(Describes, columns(**{"0": "double", "1": "double"}))
    split = {"columns": [1, 0], "data": [[1.5, 0.5]]}
    answer = served.answer({"dataframe_split": split})
    expected = pd.DataFrame({"0": [0.5], "1": [1.5]})
    assert seen(answer) == seen(description(expected))
    body = parquet(pd.DataFrame([[1.5, 0.5]], columns=[1, 0]))
    assert seen(served.answer_to(body, PARQUET)) == seen(description(expected))


@pytest.mark.parametrize(
    ("names", "sent"),
    [
        # JavaScript writes 2.0 as 2.
        ((1.5, 2.0), [1.5, 2]),
        ((0, 1, 2), [0.0, 1.0, 2.0]),
        ((2, 0, 1), [2.0, 0, 1.0]),
        ((-1, 2**53), [-1.0, 9007199254740992.0]),
    ],
)
# Integers for a float are left to MLflow.
@pytest.mark.parametrize("type_", ["double", "float"])
def test_equal_numbers_name_the_same_column(
    serve: Serve, names: tuple[Any, ...], sent: list[Any], type_: str
) -> None:
    # MLflow answers, but for the one that lacks order, of which it drops the column 0.
    served = serve(Describes, numbered(*names, type_=type_))
    dtype = DataType[type_].to_numpy()
    expected = seen(description(frame(*names, type_=dtype)))
    values = [[int(name) for name in sent], [int(name) + 100 for name in sent]]
    if 1.5 in sent:
        values = frame(*sent).to_numpy().tolist()
    assert seen(served.answer({"dataframe_split": {"columns": sent, "data": values}})) == expected
    body = parquet(pd.DataFrame(values, columns=sent, dtype=dtype))
    assert seen(served.answer_to(body, PARQUET)) == expected


@pytest.mark.parametrize(
    ("names", "sent"),
    [
        ((0, 1, 2), [0, "0", 1, 2]),
        ((0, 1, 2), [0, 0.0, 1, 2]),
        ((0, 1, 2), ["0", "0", "1", "2"]),
        (("0", "b"), ["b", "0", "0", "0"]),
        (("0", "b"), [0, "0", "b", "more"]),
    ],
)
def test_a_column_that_stands_twice_is_refused_by_name(
    serve: Serve, names: tuple[Any, ...], sent: list[Any]
) -> None:
    served = serve(Describes, numbered(*names))
    message = served.refusal({"dataframe_split": {"columns": sent, "data": [[0.5] * 4]}})
    assert (
        f"'dataframe_split' has {sum(str(name)[0] == '0' for name in sent)} columns '0'" in message
    )


def test_columns_that_the_model_does_not_know_may_stand_twice(serve: Serve) -> None:
    served = serve(Describes, columns(a="double"))
    split = {"columns": ["more", "a", "more", 1, 1], "data": [[1, 0.5, "x", 2, 3]]}
    answer = served.answer({"dataframe_split": split})
    assert seen(answer) == seen(description(pd.DataFrame({"a": [0.5]})))


def test_a_number_and_a_text_for_names(serve: Serve) -> None:
    served = serve(Describes, numbered("a", 0))
    expected = pd.DataFrame({"a": [0.5], 0: [1.5]})
    for document in documents({"a": [0.5], "0": [1.5]}).values():
        assert unlabelled(served.answer(document)) == unlabelled(description(expected))


def test_names_that_are_alike_as_text_are_told_apart_as_mlflow_does(serve: Serve) -> None:
    served = serve(Describes, numbered(0, "0"))
    split = {"columns": [0, "0"], "data": [[0.5, 1.5]]}
    assert served.answer({"dataframe_split": split}) == mlflows_answer(
        served.model, {"dataframe_split": split}
    )
    served.refusal({"inputs": {"0": [0.5]}})


def test_a_column_that_is_missing_is_named(serve: Serve) -> None:
    served = serve(Describes, numbered(2, 0, 1))
    for document in documents({"2": [0.5], "1": [0.5]}).values():
        assert "'0'" in served.refusal(document)


def test_optional_columns_with_numbers_for_names(serve: Serve) -> None:
    served = serve(Describes, numbered(1, 0, type_="long", required=False))
    expected = pd.DataFrame({1: [None, 2.0], 0: [1, 3]})
    records = [{"0": 1}, {"1": 2, "0": 3}]
    for format_ in ("dataframe_records", "instances", "inputs"):
        assert seen(served.answer({format_: records})) == seen(description(expected))


def test_requests_merge(load: Load) -> None:
    protocol = Protocol(load(Echo, numbered(2, 0, 1)))
    tables: list[dict[str, list[Any]]] = [
        {"0": [0.5], "1": [1.5], "2": [2.5]},
        {"0": [3.5, 4.5], "1": [5.5, 6.5], "2": [7.5, 8.5]},
    ]
    for form in ("split", "records", "instances of records", "inputs of columns"):
        assert_merges(protocol, *(documents(table)[form] for table in tables))
    assert_merges(protocol, {"inputs": [[0.5, 1.5, 2.5]]}, {"inputs": [[3.5, 4.5, 5.5]] * 2})
