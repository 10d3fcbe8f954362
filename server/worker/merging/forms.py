"""The requests in which clients send one row."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ..protocol import InvalidInput, Protocol, Request
from .variations import Row


def in_each_form(protocol: Protocol, rows: Sequence[Row]) -> Iterator[list[Request | None]]:
    """Yield the requests for rows in one form after the other.

    Each list has an item for each row. It is `None` where the model's signature has no place for
    the row, and where its merge key isn't that of most: a value may be of another JSON type than
    the others in its column.
    """
    for requests in in_any_form(protocol, rows):
        if any(requests):
            yield alike(requests)


def alike(requests: Sequence[Request | None]) -> list[Request | None]:
    """Return requests, those in the midst left out whose merge key isn't that of most."""
    keys = Counter(request.merge_key for request in requests if request)
    common = next((key for key, _ in keys.most_common(1)), None)
    return [r if r and r.merge_key == common else None for r in requests]


def in_any_form(protocol: Protocol, rows: Sequence[Row]) -> Iterator[list[Request | None]]:
    """Yield the same, those with other merge keys among them."""
    for documents in zip(*map(_documents, rows), strict=False):
        yield [_parse(protocol, document) for document in documents]


def _documents(row: Row) -> list[dict[str, Any]]:
    if not isinstance(row, dict):
        return [{"instances": [row]}, {"inputs": [row]}]
    columns, values = list(row), list(row.values())
    split = {"columns": columns, "data": [values]}
    tables = [[row], [values], {name: [value] for name, value in row.items()}]
    if len(values) == 1:
        tables.append(values)
    return [
        {"dataframe_split": split},
        # As pandas writes it.
        {"dataframe_split": {**split, "index": [0]}},
        {"dataframe_records": [row]},
        *({name: table} for name in ("instances", "inputs") for table in tables),
    ]


def _parse(protocol: Protocol, document: dict[str, Any]) -> Request | None:
    try:
        request = protocol.parse("application/json", json.dumps(document).encode())
    except InvalidInput:
        return None
    return request if request.merge_key is not None and request.rows == 1 else None
