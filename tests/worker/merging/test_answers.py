"""Models whose rows may spoil their neighbours: concurrent clients get what each gets alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.models import TEXT_EXAMPLE
from tests.worker.merging.clients import NUMBER, NUMBER_EXAMPLE, ask, ask_alone, numbers
from tests.worker.merging.conftest import Serve

FLAG = ModelSignature(
    inputs=NUMBER.inputs, params=ParamSchema([ParamSpec("flag", DataType.boolean, False)])
)
MAYBE_TEXT = ModelSignature(inputs=Schema([ColSpec(DataType.string, "text", required=False)]))
GROUPED = ModelSignature(
    inputs=Schema(
        [ColSpec(DataType.double, "x"), ColSpec(DataType.string, "group", required=False)]
    )
)
# More than this take the rare branch of a model, and no variation of the example is as large.
RARE = 5000.0


def flagged(_: int, x: float) -> Any:
    return {"instances": [{"x": x}], "params": {"flag": True}}


def now_and_then_rare(number: int, x: float) -> Any:
    return {"instances": [{"x": RARE + x if number % 5 == 0 else x}]}


@dataclass(frozen=True, slots=True)
class Model:
    """A model that merges what its example is like, and what it is asked."""

    predict: str
    body: Callable[[int, float], Any]
    signature: ModelSignature = field(default_factory=lambda: NUMBER)
    example: pd.DataFrame = field(default_factory=lambda: NUMBER_EXAMPLE)


MODELS = {
    "fills in the text before": Model(
        "return model_input['text'].ffill().fillna('none').tolist()",
        lambda n, x: {"dataframe_records": [{"text": None}, {"text": f"secret {n}"}]},
        MAYBE_TEXT,
        TEXT_EXAMPLE,
    ),
    "takes empty text for the text before": Model(
        "return model_input['text'].replace('', None).ffill().fillna('none').tolist()",
        lambda n, x: {"instances": [f"secret {n}" if n % 2 else ""]},
        MAYBE_TEXT,
        TEXT_EXAMPLE,
    ),
    "fills in the mean of the batch": Model(
        "return model_input['x'].fillna(model_input['x'].mean()).tolist()",
        lambda n, x: {"dataframe_records": [{"x": None}, {"x": x}]},
    ),
    "normalizes for a parameter": Model(
        """
        x = model_input["x"]
        return (x - x.mean() if params["flag"] else x).tolist()
        """,
        flagged,
        FLAG,
    ),
    "sorts for a parameter": Model(
        """
        x = model_input["x"].tolist()
        return sorted(x) if params["flag"] else x
        """,
        flagged,
        FLAG,
    ),
    "means of groups where there are groups": Model(
        """
        if "group" in model_input:
            return model_input.groupby("group")["x"].transform("mean").tolist()
        return model_input["x"].tolist()
        """,
        lambda n, x: {"instances": [{"x": x, "group": "all"}]},
        GROUPED,
    ),
    "integers, now and then none": Model(
        f"return pd.Series([None if x > {RARE} - 1000 else int(x) for x in model_input['x']])",
        now_and_then_rare,
    ),
    "integers, now and then a text": Model(
        f"""
        import numpy as np
        answers = ["unknown" if x > {RARE} - 1000 else int(x) for x in model_input["x"]]
        return np.array(answers).tolist()
        """,
        now_and_then_rare,
    ),
    "a column for errors where there are any": Model(
        f"""
        rows = [{{"y": x}} | ({{"error": "big"}} if x > {RARE} - 1000 else {{}})
                for x in model_input["x"]]
        return pd.DataFrame(rows)
        """,
        now_and_then_rare,
    ),
    "drops rows and splits rows": Model(
        """
        many = lambda x: 0 if x < -9000 else 2 if x > 9000 else 1
        return [x for x in model_input["x"] for _ in range(many(x))]
        """,
        lambda n, x: {"dataframe_records": [{"x": x}, {"x": -9001.0 if n % 2 else 9001.0}]},
    ),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
async def test_no_client_gets_another_answer_than_it_gets_alone(
    client: Client, serve: Serve, model: Model
) -> None:
    await serve(model.predict, signature=model.signature, input_example=model.example)
    bodies = [model.body(n, x) for n, x in enumerate(numbers())]
    alone = await ask_alone(client, bodies)
    # As text: 1 and 1.0 are equal, and not the same answer.
    for _ in range(3):
        assert repr(await ask(client, bodies)) == repr(alone)
    assert {status for status, _ in alone} == {200}


@pytest.fixture(scope="module")
async def eight_at_a_time(start_gateway: StartGateway) -> Gateway:
    """A gateway that merges nothing, and asks its models eight things at a time."""
    return await start_gateway("first", rehearsal_requests=0, concurrency=8)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
async def test_nor_where_several_are_asked_at_a_time(
    eight_at_a_time: Gateway, connect: Connect, model: Model
) -> None:
    options = {"signature": model.signature, "input_example": model.example}
    await eight_at_a_time.serve(eight_at_a_time.saved.save(model.predict, **options))
    client = await connect(eight_at_a_time)
    bodies = [model.body(n, x) for n, x in enumerate(numbers()[:64])]
    alone = await ask_alone(client, bodies)
    assert repr(await ask(client, bodies)) == repr(alone)
    assert {status for status, _ in alone} == {200}


async def test_the_same_request_over_and_over_proves_nothing(client: Client, serve: Serve) -> None:
    model = MODELS["normalizes for a parameter"]
    batching = await serve(model.predict, signature=FLAG, input_example=NUMBER_EXAMPLE)
    assert batching["merging"] is True
    for x in (numbers()[:1] * 256, numbers()):
        answers = await ask(client, [flagged(0, value) for value in x])
        assert answers == [(200, {"predictions": [0.0]})] * len(x)
