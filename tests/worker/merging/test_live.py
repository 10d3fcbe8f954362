"""A model that there was nothing to rehearse with is merged once live requests show that it may."""

from typing import Any

import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from server.worker.frames import Outcome
from tests.support.gateway import Client
from tests.support.models import SavedModels
from tests.worker.merging.clients import NUMBER_EXAMPLE, ask, numbers
from tests.worker.merging.conftest import Serve
from tests.worker.merging.predicting import answers, rehearsed

BARE: dict[str, Any] = {"signature": None, "input_example": None}
OPTIONAL = ModelSignature(
    inputs=Schema(
        [
            ColSpec(DataType.double, "x", required=False),
            ColSpec(DataType.long, "n", required=False),
            ColSpec(DataType.string, "text", required=False),
        ]
    )
)


async def test_requests_are_merged_once_live_ones_have_shown_that_they_may(
    client: Client, serve: Serve
) -> None:
    batching = await serve("return (model_input['x'] * 2).tolist()", **BARE)
    assert (batching["merging"], batching["formats"]) == (False, [])
    assert "live requests will tell" in batching["reason"]
    bodies = [{"dataframe_records": [{"x": x}]} for x in numbers()]
    expected = [(200, {"predictions": [x * 2]}) for x in numbers()]
    assert await ask(client, bodies) == expected
    batching = (await client.info())["batching"]
    assert (batching["merging"], batching["formats"]) == (True, ["dataframe_records"])
    assert "live requests" in batching["reason"]
    assert await ask(client, bodies) == expected


async def test_live_requests_that_differ_together_are_alone_for_good(
    client: Client, serve: Serve
) -> None:
    await serve("x = model_input['x']\nreturn (x - x.mean()).tolist()", **BARE)
    bodies = [{"dataframe_records": [{"x": x}]} for x in numbers()]
    for _ in range(2):
        assert await ask(client, bodies) == [(200, {"predictions": [0.0]})] * len(bodies)
    assert (await client.info())["batching"]["merging"] is False


async def test_one_client_who_asks_one_by_one_teaches_as_much(client: Client, serve: Serve) -> None:
    await serve("return (model_input['x'] * 2).tolist()", **BARE)
    bodies = [{"dataframe_records": [{"x": x}]} for x in numbers()[:40]]
    await ask(client, bodies, clients=1)
    assert (await client.info())["batching"]["merging"] is True


async def test_the_same_live_request_over_and_over_proves_nothing(
    client: Client, serve: Serve
) -> None:
    await serve("x = model_input['x']\nreturn (x - x.mean()).tolist()", **BARE)
    for x in (numbers()[:1] * 256, numbers()):
        found = await ask(client, [{"dataframe_records": [{"x": value}]} for value in x])
        assert found == [(200, {"predictions": [0.0]})] * len(x)


@pytest.mark.parametrize("setting", ["off", "on"])
def test_nothing_is_tried_where_the_setting_says_what_to_do(
    saved: SavedModels, setting: str
) -> None:
    path = saved.save("return (model_input['x'] * 2).tolist()", **BARE)
    _, _, predictor = rehearsed(path, batching=setting)
    answers(predictor, [{"dataframe_records": [{"x": x}]} for x in numbers()], 32)
    assert (predictor.merges, predictor.tries) == (setting == "on", False)


def noting(saved: SavedModels, predict: str, **options: Any) -> Any:
    """A predictor of a model, and what is left of the rows of each prediction, and forgotten."""
    notes = saved.directory / "notes"
    note = f"with open({str(notes)!r}, 'a') as file: print(len(model_input), file=file)\n"
    _, _, predictor = rehearsed(saved.save(note + predict, **options))

    def rows() -> list[int]:
        lines = notes.read_text().split() if notes.exists() else []
        notes.write_text("")
        return [*map(int, lines)]

    rows()
    return predictor, rows


def test_rows_with_and_without_missing_values_are_merged(saved: SavedModels) -> None:
    predictor, rows = noting(
        saved,
        "return [[str(x), str(n is None or n != n or int(n)), str(t)] for x, n, t in "
        "zip(model_input['x'], model_input['n'], model_input['text'].fillna('none'))]",
        signature=OPTIONAL,
        input_example=pd.DataFrame({"x": [1.5, 2.5], "n": [3, 4], "text": ["a", "b"]}),
    )
    patterns = [
        {
            "x": None if number & 1 else number / 2,
            "n": None if number & 2 else number,
            "text": None if number & 4 else f"text {number}",
        }
        for number in range(64)
    ]
    bodies = [{"dataframe_records": [row]} for row in patterns]
    found = answers(predictor, bodies, 32)
    assert {answer.outcome for answer in found} == {Outcome.OK}
    for row, answer in zip(patterns, found, strict=True):
        x = "nan" if row["x"] is None else str(row["x"])
        n = "True" if row["n"] is None else str(row["n"])
        expected = f'{{"predictions":[["{x}","{n}","{row["text"] or "none"}"]]}}'
        assert answer.body == expected.encode()
    # Not by their patterns, of which each batch had eight.
    assert rows() == [32, 32]


def test_the_same_row_with_a_missing_value_again_and_again_is_merged(saved: SavedModels) -> None:
    predictor, rows = noting(
        saved,
        "return model_input['x'].fillna(-1.0).tolist()",
        signature=ModelSignature(inputs=Schema([ColSpec(DataType.double, "x")])),
        input_example=NUMBER_EXAMPLE,
    )
    bodies = [{"dataframe_records": [{"x": None}]}] * 64
    assert {answer.body for answer in answers(predictor, bodies, 16)} == {b'{"predictions":[-1.0]}'}
    rows()
    answers(predictor, bodies[:16], 16)
    assert rows() == [16]
