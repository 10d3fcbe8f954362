"""Properties that hold for any JSON and any table."""

import base64
import datetime
import json
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from mlflow.types import DataType
from mlflow.types.schema import Array

from server.worker.protocol import Protocol
from tests.worker.protocol.conftest import Load, Serve
from tests.worker.protocol.describing import description
from tests.worker.protocol.models import Describes, Echo
from tests.worker.protocol.support import (
    JSON,
    columns,
    documents,
    mlflows_answer,
    named_tensors,
    tensor,
)
from tests.worker.protocol.test_csv import CSV
from tests.worker.protocol.test_formats import frame_of
from tests.worker.protocol.test_merging import assert_merges
from tests.worker.protocol.test_parquet import PARQUET, parquet
from tests.worker.protocol.workers import assert_same_or_refused, strict

pytestmark = pytest.mark.filterwarnings("ignore")

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)
KEYS = st.sampled_from(
    [
        "instances",
        "inputs",
        "dataframe_split",
        "dataframe_records",
        "params",
        "prompt",
        "other",
    ]
)
CELLS: st.SearchStrategy[Any] = st.sampled_from(
    [0, 1, 2.5, -1, True, None, "a", "b\x00", "1", 2**53 + 1, 2**63, [1], {}]
)
NAMES = st.sampled_from(["a", "b", "c", 0])
TABLES = (
    st.lists(CELLS)
    | st.lists(st.lists(CELLS, max_size=3), max_size=3)
    | st.lists(st.dictionaries(NAMES, CELLS, max_size=3), max_size=3)
    | st.dictionaries(NAMES, CELLS | st.lists(CELLS, max_size=3), max_size=3)
)
SPLITS = st.fixed_dictionaries(
    {"data": TABLES},
    optional={"columns": st.lists(NAMES, max_size=3) | CELLS, "index": st.lists(CELLS), "x": CELLS},
)
DOCUMENTS = VALUES | st.dictionaries(KEYS, VALUES | TABLES | SPLITS, min_size=1, max_size=2)

SIGNATURES = {
    "none": None,
    "text": columns(a="string"),
    "numbers": columns(a="double", b="long"),
    "optional": columns(a="double", b="double?"),
    "unnamed": columns("double", "double"),
    "unnamed text": columns("string"),
    "tensor": tensor("float64", -1, 2),
    "text tensor": tensor("str", -1),
    "one named tensor": named_tensors(a=("float32", (-1, 2))),
    "named tensors": named_tensors(a=("int64", (-1,)), b=("float64", (-1, -1))),
    "named text tensors": named_tensors(a=("str", (-1,)), b=("bool", (-1,))),
}

TYPES: dict[str, Any] = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**40), 2**40)
    | st.none(),
    "float": st.floats(allow_nan=False, width=32, allow_infinity=False) | st.none(),
    "string": st.text(),
}
WITH_NULLS: dict[str, Any] = {
    "boolean?": st.booleans() | st.none(),
    "integer?": st.integers(-(2**31), 2**31 - 1) | st.none(),
    "long?": st.integers(-(2**53), 2**53) | st.none(),
    "float": st.integers(-(2**20), 2**20),
    "string?": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    | st.none(),
    # Since 1980 all zones are whole minutes away from UTC, as ISO 8601 can write them.
    "datetime": st.none()
    | st.datetimes(
        min_value=datetime.datetime(1980, 1, 1),
        max_value=datetime.datetime(2200, 1, 1),
        timezones=st.one_of(st.none(), st.timezones()),
    ).map(datetime.datetime.isoformat),
    "binary?": st.binary().map(lambda value: base64.b64encode(value).decode()) | st.none(),
}
# Few enough that most examples find their worker running.
TYPE_NAMES = st.sampled_from(
    [*map(list, combinations(TYPES, 2)), list(TYPES), *([type_] * 3 for type_ in TYPES)]
)

slow_to_load = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def tables(draw: st.DrawFn, types: list[str]) -> dict[str, list[Any]]:
    """Draw a table with a column of each type."""
    rows = draw(st.integers(1, 3))
    values = TYPES | WITH_NULLS
    return {
        f"c{place}": draw(st.lists(values[type_], min_size=rows, max_size=rows))
        for place, type_ in enumerate(types)
    }


@pytest.mark.parametrize("signature", SIGNATURES.values(), ids=SIGNATURES)
@slow_to_load
@given(document=DOCUMENTS)
def test_any_json_gets_json(serve: Serve, signature: Any, document: Any) -> None:
    answer = serve(Echo, signature).worker.ask(json.dumps(document).encode())
    assert answer.status in (200, 400)
    strict(answer.body)


@pytest.mark.parametrize("signature", SIGNATURES.values(), ids=SIGNATURES)
@slow_to_load
@given(
    document=st.fixed_dictionaries({"instances": TABLES | CELLS})
    | st.fixed_dictionaries({"inputs": TABLES | CELLS})
    | st.fixed_dictionaries({"dataframe_split": SPLITS})
    | st.fixed_dictionaries({"dataframe_records": TABLES})
)
def test_what_mlflow_accepts_comes_out_the_same(
    serve: Serve, signature: Any, document: dict[str, Any]
) -> None:
    served = serve(Describes, signature)
    (payload,) = document.values()
    if signature == SIGNATURES["text"] and isinstance(payload, list):
        # A row that is a list of one text is that text here, where MLflow hands on the list.
        assume(not any(isinstance(row, list) for row in payload))
    try:
        expected = mlflows_answer(served.model, document)
    except Exception:
        return
    assert served.answer(document) == expected


@slow_to_load
@given(value=VALUES | st.lists(st.floats(0, 1)) | st.lists(st.integers(-(2**70), 2**70)))
def test_json_is_read_as_by_the_standard_library(serve: Serve, value: Any) -> None:
    body = json.dumps({"prompt": value}).encode()
    assert serve(Describes).answer_to(body) == description(json.loads(body))


@slow_to_load
@given(body=st.binary(), content_type=st.sampled_from([JSON, CSV, PARQUET]))
def test_any_bytes_are_answered_or_refused(serve: Serve, body: bytes, content_type: str) -> None:
    answer = serve(Echo).worker.ask(body, content_type)
    assert answer.status in (200, 400)
    strict(answer.body)


@slow_to_load
@given(data=st.data())
def test_fitting_tables_are_answered_as_by_a_direct_call(serve: Serve, data: st.DataObject) -> None:
    types = data.draw(TYPE_NAMES)
    served = serve(Describes, columns(**{f"c{place}": type_ for place, type_ in enumerate(types)}))
    table = data.draw(tables(types))
    for document in documents(table).values():
        assert served.answer(document) == mlflows_answer(served.model, document)
    frame = frame_of(table, types)
    expected: Any = served.model.predict(frame)
    assert served.answer_to(parquet(frame), PARQUET) == expected
    answer = served.answer(documents(table)["records"])
    # How it lies in memory is up to who makes the frame.
    assert answer | {"memory": None} == expected | {"memory": None}


ITEMS: dict[str, st.SearchStrategy[Any]] = {
    "double": st.floats(allow_infinity=False, allow_nan=False),
    "long": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "string": st.text(st.characters()),
    "integer": st.integers(-5, 5),
}


@slow_to_load
@given(data=st.data())
def test_arrays_are_what_mlflow_makes_of_them(serve: Serve, data: st.DataObject) -> None:
    name, nested = data.draw(st.sampled_from([*ITEMS])), data.draw(st.booleans())
    odd = st.none() | st.sampled_from([1, 1.5, True, "a", "b\x00", [], [1.5], {}, 2**63])
    items = st.lists(ITEMS[name] | odd if data.draw(st.booleans()) else ITEMS[name], max_size=3)
    type_: Any = Array(Array(DataType[name])) if nested else Array(DataType[name])
    served = serve(Describes, columns(a=type_, b="long"))
    rows = data.draw(st.lists(st.lists(items, max_size=2) if nested else items, min_size=1))
    for document in documents({"a": rows, "b": [*range(len(rows))]}).values():
        assert_same_or_refused(served, document)


@slow_to_load
@given(data=st.data())
def test_a_table_is_the_same_in_every_form(serve: Serve, data: st.DataObject) -> None:
    types = data.draw(st.sampled_from([[*WITH_NULLS], ["long?", "datetime"], ["boolean?"] * 2]))
    served = serve(Describes, columns(**{f"c{place}": type_ for place, type_ in enumerate(types)}))
    forms = documents(data.draw(tables(types)))
    split, *others = [served.answer(document) | {"memory": None} for document in forms.values()]
    for other in others:
        assert other | {"index": None} == split | {"index": None}


@slow_to_load
@given(data=st.data())
def test_requests_of_one_key_merge(load: Load, data: st.DataObject) -> None:
    types = data.draw(TYPE_NAMES | st.just([name for name in WITH_NULLS if name != "datetime"]))
    signature = columns(**{f"c{place}": type_ for place, type_ in enumerate(types)})
    protocol = Protocol(load(Echo, signature if data.draw(st.booleans()) else None))
    some = [
        documents(table) for table in data.draw(st.lists(tables(types), min_size=2, max_size=4))
    ]
    for form in some[0].keys() & some[1].keys():
        by_key: dict[Any, list[Any]] = {}
        for document in (forms[form] for forms in some if form in forms):
            key = protocol.parse(JSON, json.dumps(document).encode()).merge_key
            by_key.setdefault(key, []).append(document)
        by_key.pop(None, None)
        for group in by_key.values():
            assert_merges(protocol, *group)
