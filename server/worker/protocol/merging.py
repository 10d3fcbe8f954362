"""Several requests as one, and one answer as several."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import pandas as pd

from .encoding import jsonable
from .parsing import SPLIT, Request
from .tables import stack


def merge(requests: Sequence[Request]) -> Request:
    """Return one request with the rows of all, in order.

    Args:
        requests: Requests of one merge key, which is not `None`.
    """
    first = requests[0]
    if len(requests) == 1 or first.layout is None:
        return first
    table = stack([request.table for request in requests], first.layout.orient)
    return first._replace(
        payload=_split_of(first.payload, table) if first.format == SPLIT else table,
        rows=sum(request.rows or 0 for request in requests),
        size=sum(request.size for request in requests),
    )


def _split_of(payload: dict[str, Any], table: list[Any]) -> dict[str, Any]:
    """The payload of `dataframe_split` with other rows; an index goes on counting them."""
    if payload.get("index") is None:
        return {**payload, "data": table}
    return {**payload, "data": table, "index": [*range(len(table))]}


def split(predictions: Any, rows: Sequence[int]) -> list[Any]:
    """Cut the answer to a merged request into the answers of each.

    A piece is encoded as the answer that the request would get alone; arrays and frames have
    become the lists that they are encoded as.

    Args:
        predictions: A list, array, Series, DataFrame, or a dictionary of these.
        rows: The number of rows of each request.

    Raises:
        ValueError: the answer has not as many rows as the requests, or can't be cut.
    """
    if isinstance(predictions, dict) and predictions:
        cut = [split(column, rows) for column in predictions.values()]
        return [dict(zip(predictions, pieces, strict=True)) for pieces in zip(*cut, strict=True)]
    if isinstance(predictions, (pd.Index, pd.api.extensions.ExtensionArray)):
        predictions = predictions.tolist()
    answers = jsonable(predictions)
    if not isinstance(answers, list):
        raise ValueError(f"an answer of type {type(predictions).__name__} has no rows to cut")  # noqa: TRY004
    bounds = list(accumulate(rows, initial=0))
    if len(answers) != bounds[-1]:
        raise ValueError(f"the model answered {len(answers)} rows to {bounds[-1]}")
    return [answers[start:end] for start, end in pairwise(bounds)]
