"""Answers as JSON: MLflow's forms, but always JSON that a strict parser reads."""

import base64
import datetime
import json
import math
from collections.abc import Callable
from decimal import Decimal
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.pyfunc.scoring_server import predictions_to_json

from server.worker.frames import Outcome
from server.worker.protocol.encoding import encode
from server.worker.protocol.errors import EncodingError
from tests.worker.protocol.conftest import Serve
from tests.worker.protocol.models import Broken, Label, Number, Runs, Score, pickled
from tests.worker.protocol.support import columns
from tests.worker.protocol.workers import Served, strict

UTC = datetime.UTC
DAY = datetime.datetime(2024, 5, 6, 7, 8, 9, 123456)

slow = settings(deadline=None)


@pytest.fixture(scope="package")
def runs(serve: Serve) -> Served:
    """A model that answers with whatever a test wants it to."""
    return serve(Runs, columns(function="string"))


def ours(runs: Served, answer: Any) -> Any:
    """Return the answer as it is read from the worker's JSON."""
    return runs.answer({"instances": [pickled(lambda: answer)]})


def theirs(runs: Served, answer: Any) -> Any:
    """Return the answer of a direct call as it is read from MLflow's JSON, its bare words as
    null."""
    frame = pd.DataFrame({"function": [pickled(lambda: answer)]})
    file = StringIO()
    write: Any = predictions_to_json
    write(runs.model.predict(frame), file)
    return json.loads(file.getvalue(), parse_constant=lambda word: None)["predictions"]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        True,
        3,
        2**53 + 1,
        2**64,
        -(2**100),
        0.1,
        1e16,
        1e-7,
        5e-324,
        math.nan,
        -math.inf,
        "déjà \u2028 \x7f \U0001f600",
        "\ud800",
        "a\x00b",
        b"hello" * 30,
        bytearray(b"\x00\xff"),
        [],
        {},
        [1, None, "a", [math.nan]],
        (1, 2),
        {"a": [1, 2], 2: "b", 1.5: "c", True: "d", None: "e"},
        {1e-7: "a", 1e16: "b", math.nan: "c", -math.inf: "d", -0.0: "e", 2**70: "f"},
        Number(0.1),
        [Number(1e-7), {"a": Number(math.nan)}, np.array([Number(2)], dtype=object)],
        [{"a": np.float32(0.1), "b": np.int64(3), "c": np.bool_(True), "d": np.str_("x")}],
        np.float32(0.1),
        np.float64(0.1),
        np.float16(0.1),
        np.int8(-3),
        np.uint64(2**64 - 1),
        np.bool_(False),
        np.str_("x"),
        np.bytes_(b"x"),
        np.array(3),
        np.array([0.1, math.nan, -math.inf]),
        np.array([0.1, 1e30, 3.4e38], dtype="float32"),
        np.array([0.1], dtype="float16"),
        np.arange(4, dtype="uint8"),
        np.array([2**64 - 1], dtype="uint64"),
        np.array([True, False]),
        np.array(["a", "bc"]),
        np.array([b"a", b"bc"]),
        np.array([1, "a", None, b"x", np.float32(0.1)], dtype=object),
        np.array([[1, 2], [3, 4]]),
        np.zeros((2, 0)),
        np.arange(8).reshape(2, 2, 2),
        np.array(["2024-05-06", "NaT"], dtype="datetime64[D]"),
        np.array(["2024-05-06T07:08:09"], dtype="datetime64[s]"),
        np.array(["2024-05-06T07:08:09"], dtype="datetime64[ns]"),
        np.array([(1, 0.5)], dtype=[("a", "i4"), ("b", "f4")]),
        np.ma.masked_array([1, 2], mask=[False, True]),
        {"a": np.array([0.1, 0.2], dtype="float32"), "b": np.array(["x", "y"])},
        {"a": {"b": [np.array([1])]}},
        pd.Series([0.1, math.nan]),
        pd.Series([1, 2], name="score", index=["x", "y"]),
        pd.Series(["a", "b"], dtype="category"),
        pd.DataFrame({"a": [1, 2], "b": [0.5, math.nan], "c": ["x", None]}),
        pd.DataFrame({"a": np.array([0.1], dtype="float32"), "b": np.array([3], dtype="int8")}),
        pd.DataFrame([[1, 2], [3, 4]]),
        pd.DataFrame([[1, 2]], columns=[1e-7, math.inf]),
        pd.DataFrame([[1, 2, 3]], columns=pd.Index([True, None, 1.5], dtype=object)),
        pd.DataFrame({"a": [[1, 2], None], "b": [{"x": 1}, b"y"]}),
        pd.DataFrame({"when": pd.to_datetime(["2024-05-06T07:08:09.123456789"])}),
        pd.DataFrame({"when": pd.to_datetime(["2024-05-06T07:08:09+02:00"])}),
        pd.DataFrame({"a": pd.array([True, False], dtype="boolean")}),
        pd.DataFrame({"a": []}),
        pd.DataFrame(index=[1, 2]),
        pd.DataFrame(),
        DAY,
        DAY.replace(tzinfo=UTC),
        DAY.date(),
        DAY.time(),
        pd.Timestamp("2024-05-06T07:08:09.123456789", tz="Europe/Berlin"),
        Score(label="a", score=math.nan),
        [Score(label="a", score=0.1)],
    ],
    ids=lambda answer: f"{type(answer).__name__}",
)
def test_same_as_mlflow(runs: Served, answer: Any) -> None:
    # As text, 1, 1.0 and true differ.
    assert json.dumps(ours(runs, answer)) == json.dumps(theirs(runs, answer))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Decimal("0.1"), 0.1),
        ([Decimal("NaN"), Decimal("Infinity"), Decimal("1e400")], [None, None, None]),
        (np.longdouble(0.5), 0.5),
        ([pd.NA, pd.NaT], [None, None]),
        (pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}), [{"a": 1}, {"a": None}]),
        (
            pd.DataFrame({"a": pd.to_datetime(["2024-05-06", "NaT"])}),
            [{"a": "2024-05-06T00:00:00"}, {"a": None}],
        ),
        (pd.Index([1, 2]), [1, 2]),
        (pd.array([1, None], dtype="Int64"), [1, None]),
        (pd.Timedelta("1h"), "P0DT1H0M0S"),
        (datetime.timedelta(days=1, seconds=1), "P1DT0H0M1S"),
        (
            {"frame": pd.DataFrame({"a": [1]}), "series": pd.Series([1])},
            {"frame": [{"a": 1}], "series": [{"0": 1}]},
        ),
        ({np.int64(1): "a", ("x", 1): "b"}, {"1": "a", "('x', 1)": "b"}),
        ({np.longdouble(0.5): "a", DAY.date(): "b"}, {"0.5": "a", "2024-05-06": "b"}),
        (Label.SPAM, "spam"),
        ([10**400], [10**400]),
        ({"deep": json.loads("[" * 400 + "]" * 400)}, {"deep": json.loads("[" * 400 + "]" * 400)}),
        (["\ud800", math.nan, 2**70], ["\ud800", None, 2**70]),
    ],
    ids=range(17),
)
def test_what_mlflow_has_no_valid_form_for(runs: Served, answer: Any, expected: Any) -> None:
    assert ours(runs, answer) == expected


def _endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: 1j,
        lambda: {1, 2},
        lambda: object(),
        lambda: (value for value in [1]),
        lambda: [np.complex64(1)],
        _endless,
        lambda: 10**5000,
        lambda: Broken(),
        lambda: json,
    ],
    ids=range(9),
)
def test_what_json_has_no_form_for(runs: Served, make: Callable[[], Any]) -> None:
    request = json.dumps({"instances": [pickled(make)]}).encode()
    answer = runs.worker.ask(request)
    assert (answer.status, answer.outcome) == (500, Outcome.INTERNAL_ERROR)
    assert "no form in JSON" in strict(answer.body)["message"]


def test_without_the_wrapper() -> None:
    assert encode({"choices": []}, wrap=False) == b'{"choices":[]}'
    assert encode(np.array([1]), wrap=False) == b"[1]"


def test_bytes_are_base64(runs: Served) -> None:
    data = bytes(range(256))
    assert base64.b64decode(ours(runs, data)) == data


@slow
@given(values=st.lists(st.floats(width=32)))
def test_numbers_of_32_bits_keep_every_digit(runs: Served, values: list[float]) -> None:
    array = np.array(values, dtype="float32")
    read = np.array(ours(runs, array), dtype="float32")
    np.testing.assert_array_equal(read, np.where(np.isfinite(array), array, np.nan))


@slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "dtype",
    [
        *("float64", "float32", "float16", ">f8", ">f4", "longdouble"),
        *("int8", "int16", "int32", "int64", ">i4", "uint8", "uint16", "uint32", "uint64"),
        *("bool", "complex64", "M8[s]", "U4"),
    ],
)
@given(data=st.data())
def test_large_arrays_are_written_as_their_lists(dtype: str, data: st.DataObject) -> None:
    size = data.draw(st.integers(250, 600))
    # Any bits at all: NaN, infinities and the smallest numbers among them.
    bits = np.random.default_rng(data.draw(st.integers(0, 2**32))).bytes(2 * size * 16)
    kind = np.dtype(dtype)
    array: Any = np.frombuffer(bits, dtype="uint8")
    if kind.kind == "b":
        array = array % 2 == 0
    elif kind.kind == "U":
        array = array.astype(kind)
    else:
        array = array[: len(array) // kind.itemsize * kind.itemsize].view(kind)
    array = array[: size // 2 * 2].reshape(2, -1)
    for answer in (array, array.T, array[:, ::-1], array[:, ::2]):
        written = outcome(answer)
        assert written == outcome(answer.tolist())
        assert outcome({"a": [answer, "b"]}) == outcome({"a": [answer.tolist(), "b"]})


def outcome(answer: Any) -> bytes | str:
    """What is written, or why it can't be."""
    try:
        return encode(answer)
    except EncodingError as error:
        return str(error)


ANSWERS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.datetimes()
    | st.dates()
    | st.times(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.floats(), inner),
    max_leaves=20,
)


@slow
@given(answer=ANSWERS)
def test_any_answer_is_valid_json_and_reads_as_mlflows(runs: Served, answer: Any) -> None:
    assert json.dumps(ours(runs, answer)) == json.dumps(theirs(runs, answer))
