"""Each format with each type of column: a worker's answer is that of the model called directly."""

import base64
import json
from typing import Any

import pandas as pd
import pytest
from mlflow.types.schema import AnyType, Array, DataType, Map, Object, Property

from tests.worker.protocol.conftest import Serve
from tests.worker.protocol.models import Describes
from tests.worker.protocol.support import JSON, columns, documents
from tests.worker.protocol.test_csv import CSV
from tests.worker.protocol.test_parquet import PARQUET, parquet

VALUES: list[tuple[Any, list[Any]]] = [
    (DataType.boolean, [True, False]),
    (DataType.integer, [-(2**31), 2**31 - 1]),
    (DataType.long, [-(2**63), 2**53 + 1]),
    (DataType.float, [0.1, -1e-30]),
    (DataType.double, [0.1, 1e300]),
    (DataType.string, ["déjà vu", 'a, "b"']),
    (DataType.datetime, ["2024-05-06T07:08:09.123456", "1999-12-31T00:00:00.000001"]),
    (DataType.binary, ["aGVsbG8=", "AA=="]),
    (Array(DataType.double), [[0.5, 1.5], [2.5, 3.5]]),
    (Object([Property("a", DataType.string)]), [{"a": "x"}, {"a": "y"}]),
    (Map(DataType.long), [{"a": 1}, {"a": 2}]),
    (AnyType(), [{"a": "x"}, {"a": "y"}]),  # type: ignore[no-untyped-call]
]
"""Two values of each type, as JSON writes them."""


def frame_of(table: dict[str, list[Any]], types: list[Any]) -> pd.DataFrame:
    """Return the frame to call a model with directly.

    Args:
        table: Values as JSON writes them.
        types: The type of each column, or its name.
    """
    return pd.DataFrame(
        {
            name: _series(values, DataType[type_] if isinstance(type_, str) else type_)
            for (name, values), type_ in zip(table.items(), types, strict=True)
        }
    )


def _series(values: list[Any], type_: Any) -> "pd.Series[Any]":
    if type_ is DataType.datetime:
        return pd.Series(pd.to_datetime(values))
    if type_ is DataType.binary:
        return pd.Series([base64.b64decode(value) for value in values])
    if type_ is DataType.string or not isinstance(type_, DataType):
        return pd.Series(values)
    return pd.Series(values, dtype=type_.to_pandas())


def bodies(type_: Any, values: list[Any]) -> dict[str, tuple[str, bytes]]:
    """Return the content type and the body that send a column of these values, in each format that
    MLflow can send them in."""
    table = {"column": values}
    forms = documents(table)
    scalar = isinstance(type_, DataType)
    if not scalar or type_ is DataType.binary:
        # In the others, MLflow does not decode base64, and may take a whole list for one cell.
        forms = {name: forms[name] for name in ("split", "split with index", "records")}
    some = {name: (JSON, json.dumps(document).encode()) for name, document in forms.items()}
    if scalar:
        some["parquet"] = PARQUET, parquet(frame_of(table, [type_]))
    if scalar and type_ is not DataType.binary:
        some["csv"] = CSV, pd.DataFrame(table).to_csv(index=False).encode()
    return some


CASES = [
    pytest.param(type_, values, *body, id=f"{form}-{type_}")
    for type_, values in VALUES
    for form, body in bodies(type_, values).items()
]


@pytest.mark.parametrize(("type_", "values", "content_type", "body"), CASES)
def test_the_answer_is_that_of_a_direct_call(
    serve: Serve, type_: Any, values: list[Any], content_type: str, body: bytes
) -> None:
    served = serve(Describes, columns(column=type_))
    answer = served.answer_to(body, content_type)
    expected: Any = served.model.predict(frame_of({"column": values}, [type_]))
    assert answer["columns"] == expected["columns"]
    assert answer["cells"] == expected["cells"]
    # Texts in CSV are objects, as MLflow reads them.
    assert answer["dtypes"] == expected["dtypes"] or type_ is DataType.string
