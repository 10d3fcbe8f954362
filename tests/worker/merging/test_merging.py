"""Requests that share a prediction get the answers that each gets alone."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.models import ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec

from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client
from tests.support.log import Log
from tests.support.models import TEXT_SIGNATURE, SavedModels
from tests.worker.merging.clients import (
    CLIENTS,
    NUMBER,
    NUMBER_EXAMPLE,
    REQUESTS_EACH,
    ask,
    numbers,
)
from tests.worker.merging.conftest import Serve


async def test_a_model_that_treats_each_row_by_itself_is_merged(
    client: Client, serve: Serve
) -> None:
    batching = await serve(
        "return [f'{text}!' for text in model_input['text']]", signature=TEXT_SIGNATURE
    )
    assert batching["merging"] is True
    texts = [f"text {n}" for n in range(CLIENTS * REQUESTS_EACH)]
    answers = await ask(client, [{"instances": [text]} for text in texts])
    assert answers == [(200, {"predictions": [f"{text}!"]}) for text in texts]


async def test_requests_of_several_rows_each_get_their_own_rows(
    client: Client, serve: Serve
) -> None:
    await serve("return [text.upper() for text in model_input['text']]")
    tables = [[f"row {n}-{row}" for row in range(n % 7 + 1)] for n in range(100)]
    answers = await ask(
        client, [{"dataframe_records": [{"text": t} for t in table]} for table in tables]
    )
    assert answers == [(200, {"predictions": [t.upper() for t in table]}) for table in tables]


@pytest.mark.parametrize(
    ("predict", "alone"),
    [
        ("return (model_input['x'] - model_input['x'].mean()).tolist()", lambda x: 0.0),
        ("return model_input['x'].rank().tolist()", lambda x: 1.0),
        (
            "import numpy as np; e = np.exp(model_input['x'] / 100); return (e / e.sum()).tolist()",
            lambda x: 1.0,
        ),
        ("return [float(len(model_input))] * len(model_input)", lambda x: 1.0),
        ("return sorted(model_input['x'].tolist())", lambda x: x),
    ],
    ids=["mean over the batch", "rank", "softmax over the batch", "count", "sorted"],
)
async def test_a_model_that_looks_across_rows_is_not_merged(
    client: Client, serve: Serve, predict: str, alone: Callable[[float], float]
) -> None:
    batching = await serve(predict, signature=NUMBER, input_example=NUMBER_EXAMPLE)
    assert batching["merging"] is False
    assert "together" in batching["reason"]
    inputs = numbers()
    answers = await ask(client, [{"instances": [{"x": x}]} for x in inputs])
    assert answers == [(200, {"predictions": [pytest.approx(alone(x))]}) for x in inputs]


async def test_a_model_that_counts_its_calls_is_not_merged(client: Client, serve: Serve) -> None:
    batching = await serve(
        """
        global count
        count += 1
        return [count] * len(model_input)
        """,
        preamble="count = 0",
        signature=NUMBER,
        input_example=NUMBER_EXAMPLE,
    )
    assert batching["merging"] is False
    answers = await ask(client, [{"instances": [{"x": x}]} for x in numbers()])
    counts = sorted(answer["predictions"][0] for status, answer in answers if status == 200)
    assert counts == list(range(counts[0], counts[0] + CLIENTS * REQUESTS_EACH))


async def test_a_model_that_answers_at_random_is_not_merged(client: Client, serve: Serve) -> None:
    batching = await serve(
        "import random; return [random.choice(['a', 'b']) for _ in range(len(model_input))]",
        signature=NUMBER,
        input_example=NUMBER_EXAMPLE,
    )
    assert batching["merging"] is False
    answers = await ask(client, [{"instances": [{"x": x}]} for x in numbers()])
    assert all(answer in ((200, {"predictions": [w]}) for w in "ab") for answer in answers)


async def test_a_row_that_makes_the_model_raise_spoils_no_other_answer(
    client: Client, serve: Serve
) -> None:
    batching = await serve(
        """
        if (model_input['x'] > 9000).any():
            raise ValueError('too large')
        return (model_input['x'] * 2).tolist()
        """,
        signature=NUMBER,
        input_example=NUMBER_EXAMPLE,
    )
    assert batching["merging"] is True
    inputs = [9001.0 if n % 10 == 0 else x for n, x in enumerate(numbers())]
    answers = await ask(client, [{"instances": [{"x": x}]} for x in inputs])
    for x, (status, answer) in zip(inputs, answers, strict=True):
        if x > 9000:
            assert (status, answer["message"]) == (400, "too large")
        else:
            assert (status, answer) == (200, {"predictions": [x * 2]})


async def test_a_model_that_drops_rows_answers_each_request_as_it_does_alone(
    client: Client, serve: Serve
) -> None:
    await serve(
        "return [x * 2 for x in model_input['x'] if x < 9000]",
        signature=NUMBER,
        input_example=NUMBER_EXAMPLE,
    )
    inputs = [9001.0 if n % 10 == 0 else x for n, x in enumerate(numbers())]
    answers = await ask(client, [{"instances": [{"x": x}]} for x in inputs])
    assert answers == [(200, {"predictions": [] if x > 9000 else [x * 2]}) for x in inputs]


async def test_requests_with_different_params_are_not_merged(client: Client, serve: Serve) -> None:
    signature = ModelSignature(
        inputs=NUMBER.inputs, params=ParamSchema([ParamSpec("factor", DataType.double, 1.0)])
    )
    batching = await serve(
        "return (model_input['x'] * params['factor']).tolist()",
        signature=signature,
        input_example=(NUMBER_EXAMPLE, {"factor": 1.0}),
    )
    assert batching["merging"] is True
    inputs = [(x, float(n % 3)) for n, x in enumerate(numbers())]
    answers = await ask(
        client, [{"instances": [{"x": x}], "params": {"factor": f}} for x, f in inputs]
    )
    assert answers == [(200, {"predictions": [x * f]}) for x, f in inputs]


async def test_integers_and_floats_in_one_column_are_answered_as_alone(
    client: Client, serve: Serve
) -> None:
    batching = await serve(
        "return [f'{model_input[\"x\"].dtype} {x!r}' for x in model_input['x'].tolist()]",
        signature=NUMBER,
        input_example=NUMBER_EXAMPLE,
    )
    assert batching["merging"] is True
    # One of them has no exact float64: beside a float, it would be rounded on its way.
    inputs = [2**53 + n if n % 2 else n + 0.5 for n in range(CLIENTS * REQUESTS_EACH)]
    answers = await ask(client, [{"dataframe_records": [{"x": x}]} for x in inputs])
    refused = [answer for status, answer in answers if status != 200]
    assert refused == []
    assert answers == [(200, {"predictions": [f"float64 {float(x)!r}"]}) for x in inputs]


async def test_a_version_that_can_t_be_tried_is_not_merged(client: Client, serve: Serve) -> None:
    batching = await serve("return [1] * len(model_input)", signature=None, input_example=None)
    assert batching["merging"] is False
    assert "no example" in batching["reason"]


async def test_rows_made_from_the_signature_do_where_there_is_no_example(
    client: Client, serve: Serve
) -> None:
    batching = await serve(
        "return (model_input['x'] + 1).tolist()", signature=NUMBER, input_example=None
    )
    assert batching["merging"] is True


async def test_a_version_that_fails_only_when_merged_stops_merging(
    client: Client, serve: Serve, log: Log
) -> None:
    batching = await serve(
        """
        if len(model_input) > 1 and (model_input['x'] > 9000).any():
            raise ValueError('only together')
        return model_input['x'].tolist()
        """,
        signature=NUMBER,
        input_example=NUMBER_EXAMPLE,
    )
    assert batching["merging"] is True
    inputs = [9000.0 + n for n in range(CLIENTS * REQUESTS_EACH)]
    for _ in range(3):
        answers = await ask(client, [{"instances": [{"x": x}]} for x in inputs])
        assert answers == [(200, {"predictions": [x]}) for x in inputs]
    version = (await client.info())["metadata"]["version"]
    await log.wait_for("merging_turned_off", version=f"v{version}")
    assert len(log.find("merging_turned_off")) == 1


@pytest.mark.parametrize(("setting", "merging"), [("on", True), ("off", False)])
async def test_the_setting_overrides_what_was_proved(
    start_gateway: StartGateway, connect: Connect, setting: str, merging: bool
) -> None:
    client = await connect(await start_gateway("first", batching=setting))
    batching = (await client.info())["batching"]
    assert (batching["merging"], batching["reason"]) == (merging, f"BATCHING={setting}")


async def test_a_large_request_does_not_hold_up_small_ones_while_a_worker_is_idle(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    path = saved.save(
        f"""
        import pathlib, time
        if len(model_input['text'][0]) > 100_000:
            while not pathlib.Path({str(gate)!r}).exists():
                time.sleep(0.01)
        return model_input['text'].tolist()
        """
    )
    client = await connect(await start_gateway(path, workers=2))

    async def post(text: str) -> None:
        answer = await client.predict({"instances": [text]})
        assert answer.json == {"predictions": [text]}

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        held = group.create_task(post("large" * 100_000))
        small = [group.create_task(post(f"small {n}")) for n in range(50)]
        await asyncio.wait(small)
        assert not held.done()
        gate.touch()
    assert len(await client.worker_pids()) == 2
