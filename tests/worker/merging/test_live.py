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
            ColSpec(DataType.double, "y", required=False),
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
        "return [[str(x), str(y), str(t)] for x, y, t in "
        "zip(model_input['x'], model_input['y'], model_input['text'].fillna('none'))]",
        signature=OPTIONAL,
        input_example=pd.DataFrame({"x": [1.5, 2.5], "y": [3.5, 4.5], "text": ["a", "b"]}),
    )
    patterns = [
        {
            "x": None if number & 1 else number / 2,
            "y": None if number & 2 else number,
            "text": None if number & 4 else f"text {number}",
        }
        for number in range(64)
    ]
    found = answers(predictor, [{"dataframe_records": [row]} for row in patterns], 32)
    assert {answer.outcome for answer in found} == {Outcome.OK}
    for row, answer in zip(patterns, found, strict=True):
        x, y = ("nan" if row[name] is None else str(float(str(row[name]))) for name in "xy")
        expected = f'{{"predictions":[["{x}","{y}","{row["text"] or "none"}"]]}}'
        assert answer.body == expected.encode()
    # Not by their patterns, of which each batch had eight.
    assert len(rows()) < 12


LOOKUP = (
    "return [{'7': 'gold', '11': 'silver'}.get(t, 'none') for t in model_input['id'].astype(str)]"
)
LONG = ColSpec(DataType.long, "id", required=False)


@pytest.mark.parametrize("signature", [ModelSignature(inputs=Schema([LONG])), None])
def test_integers_stay_integers_beside_rows_that_have_none(
    saved: SavedModels, signature: ModelSignature | None
) -> None:
    example = pd.DataFrame({"id": [1234, 5678]}) if signature else None
    path = saved.save(LOOKUP, signature=signature, input_example=example)
    _, _, predictor = rehearsed(path)

    def ids(*some: Any) -> list[bytes]:
        bodies = [{"dataframe_records": [{"id": one}]} for one in some]
        return [answer.body for answer in answers(predictor, bodies, 16)]

    ids(*[1234, 5678, None, 1.5, 99] * 40)
    gold, _, silver, _ = ids(7, None, 11, 2.5)
    assert (gold, silver) == (b'{"predictions":["gold"]}', b'{"predictions":["silver"]}')


def test_ids_of_any_size_are_exact_beside_floats(saved: SavedModels) -> None:
    signature = ModelSignature(inputs=Schema([ColSpec(DataType.long, "id")]))
    path = saved.save(
        "return [str(one) for one in model_input['id']]",
        signature=signature,
        input_example=pd.DataFrame({"id": [3, 4]}),
    )
    _, _, predictor = rehearsed(path)
    sent = [17] * 40 + [5.0] * 64 + [2**53 + 1, 5.0, 10**17 + 1, 3] * 4
    found = answers(predictor, [{"dataframe_records": [{"id": one}]} for one in sent], 16)
    for one, answer in zip(sent, found, strict=True):
        if answer.outcome is Outcome.OK:
            assert answer.body == f'{{"predictions":["{int(one)}"]}}'.encode()


@pytest.mark.parametrize("most", [2, 8, 256])
def test_only_what_was_tried_beside_others_counts(saved: SavedModels, most: int) -> None:
    path = saved.save(
        "return model_input['y'].fillna(model_input['y'].max()).fillna(-1).tolist()",
        signature=OPTIONAL,
        input_example=pd.DataFrame({"x": [1.5, 2.5], "y": [3.5, 4.5], "text": ["a", "b"]}),
    )
    _, _, predictor = rehearsed(path, max_batch_rows=most)
    bodies = [
        {"dataframe_records": [{"x": 1.5, "y": y, "text": "a"}]}
        for y in [None, 7.5, 8.5, None] * 40
    ]
    alone = [
        b'{"predictions":[%s]}' % (b"%.1f" % y if y else b"-1.0") for y in [None, 7.5, 8.5, None]
    ]
    assert [answer.body for answer in answers(predictor, bodies, 16)] == alone * 40
    # The others lack what changes nothing.
    text = [{"dataframe_records": [{"x": x, "y": 7.5, "text": None}]} for x in (1.5, None)] * 40
    assert {answer.outcome for answer in answers(predictor, text, 16)} == {Outcome.OK}
    assert predictor.merges


def test_one_who_sends_what_is_nested_too_deeply_harms_nobody(saved: SavedModels) -> None:
    _, _, predictor = rehearsed(saved.save("return [1.0] * len(model_input)", **BARE))
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    found = answers(predictor, [{"dataframe_records": [{"x": 1, "a": deep}]}] * 20, 5)
    assert len(found) == 20


def test_many_equal_requests_on_trial_are_answered_in_good_time(saved: SavedModels) -> None:
    _, _, predictor = rehearsed(
        saved.save("return [1.0] * len(model_input)", **BARE), max_batch_rows=10_000
    )
    found = answers(predictor, [{"dataframe_records": [{"x": 1.5}]}] * 5000, 5000)
    assert len(found) == 5000


def test_requests_that_can_t_be_merged_keep_others_from_nothing(saved: SavedModels) -> None:
    predict = """
        import uuid
        if "trace" in model_input:
            return [str(uuid.uuid4()) for _ in range(len(model_input))]
        return (model_input["x"] * 2).tolist()
        """
    _, _, predictor = rehearsed(saved.save(predict, **BARE))
    answers(predictor, [{"dataframe_records": [{"x": x, "trace": 1}]} for x in numbers()], 16)
    assert not predictor.merges
    answers(predictor, [{"dataframe_records": [{"x": x}]} for x in numbers()], 16)
    assert predictor.merges


@pytest.mark.parametrize("shape", ["(h @ w)[:, 0]", "h @ w", "pd.DataFrame(h @ w)"])
def test_networks_of_one_output_are_merged(saved: SavedModels, shape: str) -> None:
    path = saved.save(
        f"""
        import numpy as np
        chance = np.random.default_rng(0)
        a = model_input.to_numpy().astype("float32")
        first, second, w = (
            chance.normal(size=size).astype("float32") / 8
            for size in ((20, 256), (256, 256), (256, 1))
        )
        h = np.maximum(np.maximum(a @ first, 0) @ second, 0)
        return {shape}
        """,
        signature=ModelSignature(
            inputs=Schema([ColSpec(DataType.double, f"c{place}") for place in range(20)])
        ),
        input_example=pd.DataFrame([[place / 7 for place in range(20)]] * 2).rename(
            columns=lambda place: f"c{place}"
        ),
    )
    _, proof, _ = rehearsed(path)
    assert proof.formats, proof.reason


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
