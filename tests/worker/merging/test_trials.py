"""Requests that the rehearsal could not foresee are merged once they were seen to be safe."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.models import ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec

from tests.support.gateway import Client
from tests.worker.merging.clients import NUMBER, NUMBER_EXAMPLE, ask, numbers
from tests.worker.merging.conftest import Serve

FACTOR = ModelSignature(
    inputs=NUMBER.inputs, params=ParamSchema([ParamSpec("factor", DataType.double, 1.0)])
)


Noting = Callable[[str], Awaitable[Callable[[], list[int]]]]


@pytest.fixture
def noting(serve: Serve, tmp_path: Path) -> Noting:
    """Serves a model of an expression; the function that it returns says, and forgets, how many
    rows each prediction with parameters had."""
    path = tmp_path / "rows"
    path.touch()

    async def noting(expression: str) -> Callable[[], list[int]]:
        batching = await serve(
            f"""
            if params["factor"] != 1.0:
                with open({str(path)!r}, "a") as file:
                    file.write(f"{{len(model_input)}}\\n")
            x = model_input["x"]
            return ({expression}).tolist()
            """,
            signature=FACTOR,
            input_example=NUMBER_EXAMPLE,
        )
        assert batching["merging"] is True

        def rows() -> list[int]:
            lines = path.read_text().split()
            path.write_text("")
            return [*map(int, lines)]

        return rows

    return noting


def bodies() -> list[Any]:
    """Requests with a parameter that no example has."""
    return [{"instances": [{"x": x}], "params": {"factor": 2.0}} for x in numbers()]


async def test_requests_with_parameters_are_merged_after_their_trial(
    client: Client, noting: Noting
) -> None:
    rows = await noting("x * params['factor']")
    expected = [(200, {"predictions": [x * 2]}) for x in numbers()]
    assert await ask(client, bodies()) == expected
    assert rows()[0] == 1
    assert await ask(client, bodies()) == expected
    after = rows()
    # Each request once, and several in one prediction.
    assert sum(after) == len(bodies())
    assert max(after) > 8


async def test_requests_that_differ_together_are_alone_for_good(
    client: Client, noting: Noting
) -> None:
    rows = await noting("x if params['factor'] == 1.0 else x - x.mean()")
    expected = [(200, {"predictions": [0.0]})] * len(bodies())
    assert await ask(client, bodies()) == expected
    tried = [count for count in rows() if count > 1]
    assert len(tried) == 1
    assert await ask(client, bodies()) == expected
    assert rows() == [1] * len(bodies())
