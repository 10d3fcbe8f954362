"""Large requests of other kinds than numbers in columns, each with a model that takes them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array, TensorSpec

from benchmarks.models import SEED, read_corpus, table

_HERE = Path(__file__).parent
_ROWS = 1000
_WIDTH = 100
_PIXELS = (3, 32, 32)
_IMAGES = 64
_COLUMNS = 50
# Of the signature's columns, in turn.
_TYPES = (DataType.double, DataType.long, DataType.string, DataType.boolean)


@dataclass(frozen=True, slots=True)
class Kind:
    """A request and its model.

    Attributes:
        title: What people read.
        model: The name of its file beside this one.
        document: The request.
        signature: The model's, `None` if it comes from a type hint, or there is none.
    """

    title: str
    model: str
    document: dict[str, Any]
    signature: ModelSignature | None = None

    def save(self, directory: Path) -> Path:
        """Save the model, and return its path."""
        path = directory / self.model
        mlflow.pyfunc.save_model(
            os.fspath(path),
            python_model=os.fspath(_HERE / f"{self.model}.py"),
            signature=self.signature,
            pip_requirements=["mlflow"],
        )
        return path


def kinds() -> Iterator[Kind]:
    """All of them, of 1,000 rows but for the images."""
    corpus = read_corpus()["text"].tolist()
    texts = [f"{corpus[n % len(corpus)]} {n}" for n in range(_ROWS)]
    rows = [{"text": text, "count": n, "weight": n / 8} for n, text in enumerate(texts)]
    yield Kind("texts, `list[str]`", "texts", {"inputs": texts})
    yield Kind("objects, `list[dict]`", "objects", {"inputs": rows})
    yield Kind("pydantic models", "models", {"inputs": rows})
    yield from _tensors()
    yield from _frames()
    text = ModelSignature(inputs=Schema([ColSpec(DataType.string, "text")]))
    column = {"columns": ["text"], "data": [[text] for text in texts]}
    yield Kind("answers of 384 numbers", "vectors", {"dataframe_split": column}, text)


def _tensors() -> Iterator[Kind]:
    rng = np.random.default_rng(SEED)
    numbers = rng.random((_ROWS, _WIDTH), dtype=np.float32).tolist()
    tokens = rng.integers(0, 30_000, (_ROWS, _WIDTH)).tolist()
    images = rng.random((_IMAGES, *_PIXELS), dtype=np.float32).tolist()
    unnamed, named = (TensorSpec(np.dtype("float32"), (-1, _WIDTH), name) for name in (None, "x"))
    image = TensorSpec(np.dtype("float32"), (-1, *_PIXELS))
    two = [TensorSpec(np.dtype("int64"), (-1, _WIDTH), name) for name in ("tokens", "mask")]
    signatures = [
        ModelSignature(inputs=Schema([*specs])) for specs in ([unnamed], [named], two, [image])
    ]
    yield Kind("a tensor", "firsts", {"inputs": numbers}, signatures[0])
    yield Kind("a named tensor", "firsts", {"inputs": {"x": numbers}}, signatures[1])
    both = {"tokens": tokens, "mask": tokens}
    yield Kind("two tensors of integers", "firsts", {"inputs": both}, signatures[2])
    yield Kind(f"{_IMAGES} images", "firsts", {"inputs": images}, signatures[3])
    yield Kind("lists, no signature", "firsts", {"inputs": numbers})


def _frames() -> Iterator[Kind]:
    frame = table(_ROWS, _COLUMNS)
    names, numbers = [*frame.columns], frame.to_numpy().tolist()
    mixed = [[_cell(place, value) for place, value in enumerate(row)] for row in numbers]
    columns = [
        ColSpec(_TYPES[place % len(_TYPES)], name, required=False)
        for place, name in enumerate(names)
    ]
    signature = ModelSignature(inputs=Schema([*columns]))
    records = [dict(zip(names, row, strict=True)) for row in mixed]
    # MLflow refuses nulls among integers, and makes booleans of them.
    nulls = [
        [
            None if place % 2 == 0 and (place + n) % 5 == 0 else cell
            for place, cell in enumerate(row)
        ]
        for n, row in enumerate(mixed)
    ]
    yield Kind("records of 50 columns", "counting", {"dataframe_records": records}, signature)
    split = {"columns": names, "data": nulls}
    yield Kind("50 columns, a null in ten", "counting", {"dataframe_split": split}, signature)
    lists = Schema([ColSpec(Array(DataType.double), "numbers"), ColSpec(DataType.long, "n")])
    arrays = {"columns": ["numbers", "n"], "data": [[row, n] for n, row in enumerate(numbers)]}
    yield Kind(
        "a column of arrays", "counting", {"dataframe_split": arrays}, ModelSignature(inputs=lists)
    )


def _cell(place: int, value: float) -> Any:
    return (value, int(1000 * value), f"text {value}", value > 0.5)[place % len(_TYPES)]
