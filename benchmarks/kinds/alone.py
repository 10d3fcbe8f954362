"""`python -m benchmarks.kinds.alone MODEL ROWS SECONDS`: what a model takes for a row, without any
server, by the number of rows that it is given at a time; in milliseconds, as JSON.

Runs in the environments of the models.
"""

import itertools
import json
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow.pyfunc import scoring_server

from benchmarks.kinds.requests import BODIES, Requests

SIZES = (1, 16, 64)

_TURNS = 3


def measure(model_path: str, requests: Requests, seconds: float) -> dict[str, float]:
    """The median milliseconds for a row, by the number of rows at a time.

    Args:
        seconds: For each number, in several turns.
    """
    model = mlflow.pyfunc.load_model(model_path)
    frames = {size: list(_inputs(model, requests, size)) for size in SIZES}
    took: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(_TURNS):
        for size, inputs in frames.items():
            end = time.perf_counter() + seconds / _TURNS
            # The first is not like the others: it comes after another number of rows.
            model.predict(inputs[0])
            for data in itertools.cycle(inputs):
                began = time.perf_counter()
                model.predict(data)
                ended = time.perf_counter()
                took[size].append(1000 * (ended - began) / size)
                if ended > end:
                    break
    return {f"{size}": statistics.median(times) for size, times in took.items()}


def _inputs(model: Any, requests: Requests, size: int) -> Iterator[Any]:
    """What `mlflow models serve` gives the model for requests of so many rows."""
    schema = model.metadata.get_input_schema()
    for first in range(0, BODIES - size + 1, size):
        body = json.dumps(requests.body(first, size))
        parsed = scoring_server._parse_json_data(  # type: ignore[no-untyped-call]
            body, model.metadata, schema
        )
        yield parsed.data


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = measure(sys.argv[1], Requests.load(Path(sys.argv[2])), float(sys.argv[3]))
    print(json.dumps(found))
