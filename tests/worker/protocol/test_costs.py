"""What a request costs in time and memory is in proportion to its body."""

import time
from contextlib import suppress
from io import StringIO
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.worker.protocol import InvalidInput
from server.worker.protocol.costs import (
    MOST_CELLS,
    Budget,
    shape_of,
    shape_of_layout,
    shape_of_split,
)
from server.worker.protocol.csv_outline import most_rows
from server.worker.protocol.tables import layout_of
from tests.worker.protocol.attacks import CSV, MEMORY, SECONDS, attacks, date_attacks, text_attacks
from tests.worker.protocol.conftest import Serve
from tests.worker.protocol.models import Describes, Echo
from tests.worker.protocol.support import columns, documents
from tests.worker.protocol.workers import Worker

SIGNATURES = {
    "optional columns": columns(**dict.fromkeys(("x", "y", "c1"), "double?")),
    "unnamed columns": columns("double"),
}

CELLS = (
    st.just(1)
    | st.lists(st.just(1), max_size=3)
    | st.dictionaries(st.sampled_from("abc"), st.just(1))
)
TABLES = (
    st.lists(CELLS, max_size=4)
    | st.dictionaries(st.sampled_from("abcd"), CELLS, max_size=4)
    | st.just(1)
    | st.none()
)
LABELS = st.none() | st.lists(st.sampled_from("pqrs"), max_size=4, unique=True)


padded = pytest.mark.filterwarnings("ignore:Constructing a DataFrame from a list of sequences")


@pytest.mark.parametrize("signature", SIGNATURES.values(), ids=SIGNATURES)
def test_attacks_take_little_time_and_memory(serve: Serve, signature: Any) -> None:
    assert_cheap(serve(Echo, signature).worker, attacks())


def test_dates_take_little_time_and_memory(serve: Serve) -> None:
    assert_cheap(serve(Echo, columns(x="datetime")).worker, date_attacks())


def test_texts_take_little_time_and_memory(serve: Serve) -> None:
    assert_cheap(serve(Echo, columns(x="string", y="string?")).worker, text_attacks())
    assert_cheap(serve(Echo, columns(x="string")).worker, text_attacks())


def assert_cheap(worker: Worker, bodies: dict[str, tuple[str, bytes]]) -> None:
    before = worker.most_memory()
    slow: dict[str, float] = {}
    for name, (content_type, body) in bodies.items():
        started = time.monotonic()
        status = worker.ask(body, content_type).status
        slow[name] = time.monotonic() - started
        assert status in (200, 400), name
        assert worker.most_memory() - before < MEMORY, name
    assert {name: seconds for name, seconds in slow.items() if seconds > SECONDS} == {}


@pytest.mark.parametrize("value", ["May 6 2024" + " " * 91, 2**64])
@pytest.mark.parametrize("format_", ["dataframe_records", "instances"])
def test_dates_that_are_far_too_long_are_refused(serve: Serve, format_: str, value: Any) -> None:
    served = serve(Echo, columns(x="datetime"))
    assert "column 'x' takes ISO 8601 dates" in served.refusal({format_: [{"x": value}]})


def test_columns_that_the_signature_does_not_know_are_left_out(serve: Serve) -> None:
    served = serve(Describes, columns(x="double", y="string?"))
    rows = [{"x": 0.5, "y": "a", str(number): 1} for number in range(12_000)]
    expected = served.answer(documents({"x": [0.5] * 12_000, "y": ["a"] * 12_000})["records"])
    for format_ in ("dataframe_records", "instances", "inputs"):
        assert served.answer({format_: rows}) == expected


def test_the_refusal_says_what_to_change(serve: Serve) -> None:
    served = serve(Echo, None)
    wide = {"dataframe_records": [dict.fromkeys(map(str, range(10_001)), 1)]}
    assert "10001 columns are more than the 10000" in served.refusal(wide)
    rows = {"dataframe_records": [{str(number): 1} for number in range(5000)]}
    assert "5000 rows with 5000 columns in all are 25000000 cells" in served.refusal(rows)
    names = ",".join(map(str, range(5000)))
    assert "send fewer rows" in served.refusal_of(
        f"{names}\n{'1' + chr(10) * 9000}".encode() + b"1\n" * 9000, CSV
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",".join(["x"] * 2001), "some have the same name, or none"),
        (",".join([f'"c{number}"' for number in range(2000)] + ["c7"]), "have the same name"),
        ("x" + "," * 2001, "some have the same name, or none"),
        ("x\n" + "," * 1001, "the first row has 1002 values for 1 columns"),
        ("x\n1,2,3\n" + "1\n" * 50_000, "the first row has 3 values for 1 columns"),
    ],
)
def test_what_pandas_takes_long_for_in_csv_is_refused(text: str, message: str) -> None:
    padded = f"{text}\n{',' * 2000}"
    with pytest.raises(InvalidInput, match=message):
        most_rows(padded, len(padded), Budget())


@pytest.mark.parametrize("key", ["index", "columns"])
def test_levels_of_labels_are_few(key: str) -> None:
    assert (
        shape_of_split({"data": 1, key: [[1]] * 1000}) == (1000, 1)[:: 1 if key == "index" else -1]
    )
    with pytest.raises(InvalidInput, match=f"'{key}' of 'dataframe_split' has 1001 lists"):
        shape_of_split({"data": 1, key: [[1]] * 1001})


def test_a_signature_of_many_columns_has_them_all() -> None:
    names = [f"c{number}" for number in range(12_000)]
    assert Budget(names).holds(100, len(names) + 1, 0)
    assert not Budget().holds(1, len(names), 10**9)
    assert most_rows(",".join(names), 0, Budget(names)) is None


def test_a_dense_table_is_never_too_large(serve: Serve) -> None:
    budget = Budget()
    for size in (10, 10_000, 10_000_000):
        assert budget.cells(size) >= size / 2
    assert budget.cells(10**9) == MOST_CELLS
    served = serve(Echo, None)
    rows = [[1] * 300] * 9000
    assert len(served.answer({"dataframe_split": {"data": rows}})) == 9000


@padded
@given(table=TABLES)
def test_no_frame_is_larger_than_its_outline(table: Any) -> None:
    try:
        frame = pd.DataFrame([table] if not isinstance(table, (list, dict)) else table)
    except (ValueError, TypeError, AttributeError):
        return
    rows, width = shape_of(table)
    assert frame.shape[0] <= rows
    assert frame.shape[1] <= width


@padded
@given(table=TABLES)
def test_a_layout_has_the_shape_of_its_table(table: Any) -> None:
    if (layout := layout_of(table)) is not None:
        assert shape_of_layout(table, layout) == shape_of(table)


@padded
@given(data=TABLES, names=LABELS, index=LABELS)
def test_no_frame_of_split_is_larger_than_its_outline(data: Any, names: Any, index: Any) -> None:
    try:
        frame = pd.DataFrame(data, index=index, columns=names)
    except (ValueError, TypeError, AttributeError):
        return
    rows, width = shape_of_split({"data": data, "columns": names, "index": index})
    assert frame.shape[0] <= rows
    assert frame.shape[1] <= width


@settings(max_examples=50, deadline=None)
@given(rest=st.text(st.sampled_from('a", \n\r'), max_size=12))
def test_a_csv_head_is_as_wide_as_pandas_finds_it(rest: str) -> None:
    text = ",".join(f"c{number}" for number in range(2500)) + "," + rest
    try:
        width = pd.read_csv(StringIO(text), header=None, nrows=1).shape[1]
    except pd.errors.ParserError:
        return
    budget = Budget()
    budget.columns = width - 1
    with pytest.raises(InvalidInput, match="columns are more than"):
        most_rows(text, len(text), budget)
    budget.columns = width
    # Two of the columns may have one name.
    with suppress(InvalidInput):
        assert most_rows(text, len(text), budget) is None
