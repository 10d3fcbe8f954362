"""Models that look at the rows beside a row: not one answer may be another than it is alone.

Each is tried by its example, by live requests where there is none, and with missing values.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from server.worker.frames import Outcome
from tests.support.models import SavedModels
from tests.worker.merging.predicting import answers, rehearsed

REQUESTS = 500
AT_A_TIME = 32
# How far apart an answer and the same alone may be, of the largest number in it.
ROUNDING = {"float32": 2e-6, "float64": 2e-9}

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.double, name, required=False) for name in ("x", "y")])
)
EXAMPLE = pd.DataFrame({"x": [1.5, -2.5, 30.0], "y": [0.25, 40.0, -1.0]})

# What each does with `a`, an array of two columns in the type that is tried.
MODELS = {
    "softmax over the batch": "e = np.exp(a / 1000); return e / e.sum(axis=0)",
    "mean over the batch": "return a - np.nanmean(a, axis=0)",
    "a little of the mean": "return a + dtype.type(1e-3) * np.nanmean(a, axis=0)",
    "scaled by the largest": "return a / np.nanmax(np.abs(a), axis=0)",
    "ranks": "return a.argsort(axis=0).argsort(axis=0).astype(dtype)",
    "batch normalisation in training": """
        return (a - a.mean(axis=0)) / np.sqrt(a.var(axis=0) + 1e-5)
        """,
    "dropout": "return a * (np.random.default_rng().random(a.shape) > 0.1)",
    "running sums": "return np.cumsum(a, axis=0)",
    "a count": "return a * 0 + dtype.type(len(a))",
    "a large number beside a softmax": """
        e = np.exp(a[:, :1] / 1000)
        return np.hstack([a * dtype.type(1e4), e / e.sum()])
        """,
    "a price beside a share": """
        e = np.exp(a[:, 0] / 1000)
        return pd.DataFrame({"price": a[:, 1] * dtype.type(1e6), "share": e / e.sum()})
        """,
    "missing values as the mean": "return np.where(np.isnan(a), np.nanmean(a, axis=0), a)",
    "missing values as those before": "return pd.DataFrame(a).ffill().fillna(0).to_numpy()",
    "the smallest of the batch where one is missing": """
        return np.where(np.isnan(a).any(), np.nanmin(a, axis=0), a)
        """,
}


def predict(model: str, dtype: str) -> str:
    lines = "\n".join(line.strip() for line in model.strip().splitlines())
    return (
        "import numpy as np, warnings\n"
        "warnings.simplefilter('ignore')\n"
        f"dtype = np.dtype('{dtype}')\n"
        "a = model_input[['x', 'y']].to_numpy().astype(dtype)\n"
        f"{lines}\n"
    )


def bodies(count: int, *, missing: float) -> list[Any]:
    """Requests of one row, of whose values a share is missing."""
    chance = np.random.default_rng(5)
    rows = chance.normal(0, 100, (count, 2))
    gone = chance.random((count, 2)) < missing
    cells = pd.DataFrame(rows, columns=["x", "y"]).astype(object).mask(gone, None)
    return [{"dataframe_records": [row]} for row in cells.to_dict(orient="records")]


def as_alone(model: str, dtype: str, found: Sequence[Any], alone: Sequence[Any]) -> list[int]:
    """Which answers are others than those to the same requests alone."""
    wrong = []
    for place, pair in enumerate(zip(found, alone, strict=True)):
        one, other = (np.array(flat(json.loads(body)["predictions"]), dtype=float) for body in pair)
        gone = np.isnan(one)
        if (gone != np.isnan(other)).any():
            wrong.append(place)
            continue
        largest = np.abs(other[~gone]).max(initial=0.0)
        if not (np.abs(one - other)[~gone] <= ROUNDING[dtype] * largest).all():
            wrong.append(place)
    return wrong


def flat(value: Any) -> list[Any]:
    """The numbers in an answer."""
    if isinstance(value, dict):
        return flat([*value.values()])
    if isinstance(value, list):
        return [number for item in value for number in flat(item)]
    return [value]


def check(saved: SavedModels, model: str, dtype: str, example: Any, count: int) -> None:
    path = saved.save(predict(MODELS[model], dtype), signature=SIGNATURE, input_example=example)
    _, _, predictor = rehearsed(path)
    _, _, by_itself = rehearsed(path, batching="off")
    asked = [*bodies(count // 2, missing=0.0), *bodies(count - count // 2, missing=0.2)]
    together = answers(predictor, asked, AT_A_TIME)
    alone = answers(by_itself, asked, 1)
    assert {answer.outcome for answer in together} == {Outcome.OK}
    if model == "dropout":
        assert not predictor.merges
        return
    found = [[answer.body for answer in some] for some in (together, alone)]
    assert as_alone(model, dtype, *found) == []


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("example", [EXAMPLE, None], ids=["example", "live"])
@pytest.mark.parametrize("model", MODELS)
def test_no_answer_depends_on_other_requests(
    saved: SavedModels, model: str, dtype: str, example: Any
) -> None:
    check(saved, model, dtype, example, REQUESTS)


@pytest.mark.faults
@pytest.mark.untimed
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("model", MODELS)
def test_nor_do_ten_thousand(saved: SavedModels, model: str, dtype: str) -> None:
    check(saved, model, dtype, None, 10_000)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("example", [EXAMPLE, None], ids=["example", "live"])
def test_models_that_do_not_look_are_merged(saved: SavedModels, dtype: str, example: Any) -> None:
    """Those above are not alone because nothing is ever merged."""
    network = """
        weights = np.random.default_rng(0).normal(size=(2, 10)).astype(dtype)
        return np.nan_to_num(a) @ weights
        """
    path = saved.save(predict(network, dtype), signature=SIGNATURE, input_example=example)
    _, _, predictor = rehearsed(path)
    answers(predictor, bodies(REQUESTS, missing=0.2), AT_A_TIME)
    assert predictor.merges
