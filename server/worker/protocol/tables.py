"""Tables of scalars in parsed JSON, in whichever of MLflow's formats they came."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

Kind = type | frozenset[type]
"""The type that all values of a column have, or the set of their types."""

SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})


class Layout(NamedTuple):
    """What a table looks like, without its values.

    Tables of equal layout stack without changing each other: numpy and pandas choose a column's
    dtype by the set of types in it, as long as its integers fit in 64 bits.

    Attributes:
        orient: "values" (a list of scalars), "rows" (a list of lists), "records" (a list of
            objects with the same keys) or "columns" (an object of lists of the same length).
        columns: The columns' names, `None` if they have none.
        kinds: The kind of each column.
    """

    orient: str
    columns: tuple[str, ...] | None
    kinds: tuple[Kind, ...]


_ONE_VALUE = {kind: Layout("values", None, (kind,)) for kind in SCALARS}
"""For the commonest request of all, a single value."""


def layout_of(table: Any, columns: Any = None) -> Layout | None:
    """Return the layout of a parsed JSON value, or `None` if it isn't a table of scalars.

    Args:
        table: The JSON value.
        columns: The JSON value that names the columns of a list of rows.
    """
    if type(table) is dict:
        return _layout_of_columns(table)
    if type(table) is not list or not table:
        return None
    if type(table[0]) is list:
        return _layout_of_rows(table, columns)
    if columns is not None:
        return None
    if type(table[0]) is dict:
        return _layout_of_records(table)
    if len(table) == 1:
        return _ONE_VALUE.get(type(table[0]))
    kind = _kind(table)
    return Layout("values", None, (kind,)) if kind else None


def columns_of(table: Any, orient: str) -> Iterable[Sequence[Any]]:
    """Return the values of each column of a table that has a layout, in the layout's order."""
    if orient == "rows":
        return zip(*table, strict=True)
    if orient == "records":
        return zip(*map(dict.values, table), strict=True)
    return table.values() if orient == "columns" else [table]


def stack(tables: Sequence[Any], orient: str) -> Any:
    """Return one table with the rows of several of the same layout, in order."""
    if orient == "columns":
        return {
            name: list(chain.from_iterable(table[name] for table in tables)) for name in tables[0]
        }
    return list(chain.from_iterable(tables))


def _layout_of_columns(table: dict[str, Any]) -> Layout | None:
    columns = table.values()
    if {*map(type, columns)} != {list} or len({*map(len, columns)}) != 1:
        return None
    kinds = _kinds_of_columns(columns)
    return Layout("columns", tuple(table), kinds) if kinds else None


def _layout_of_rows(table: list[Any], names: Any) -> Layout | None:
    width = len(table[0])
    if {*map(type, table)} != {list} or {*map(len, table)} != {width}:
        return None
    if names is not None:
        # Only strings: 1, 1.0 and true are equal in Python, but name columns of different types.
        if type(names) is not list or len(names) != width or {*map(type, names)} != {str}:
            return None
        names = tuple(names)
    kinds = _kinds_of_rows(table, width)
    return Layout("rows", names, kinds) if kinds else None


def _layout_of_records(table: list[Any]) -> Layout | None:
    names = tuple(table[0])
    if {*map(type, table)} != {dict} or {*map(tuple, table)} != {names}:
        return None
    kinds = _kinds_of_rows([[*record.values()] for record in table], len(names))
    return Layout("records", names, kinds) if kinds else None


def _kinds_of_rows(rows: list[list[Any]], width: int) -> tuple[Kind, ...] | None:
    if len(rows) == 1:
        types = (*map(type, rows[0]),)
        return types if types and SCALARS.issuperset(types) else None
    if len({*map(type, rows[0])}) == 1:
        # A table of one type, most likely: looking at the whole is faster than at each column.
        kind = _kind(chain.from_iterable(rows))
        if isinstance(kind, type):
            return (kind,) * width
    return _kinds_of_columns(zip(*rows, strict=True))


def _kinds_of_columns(columns: Iterable[Sequence[Any]]) -> tuple[Kind, ...] | None:
    kinds = [*map(_kind, columns)]
    found = (*(kind for kind in kinds if kind is not None),)
    return found if len(found) == len(kinds) else None


def _kind(values: Iterable[Any]) -> Kind | None:
    """Return the kind of a column; `None` if it is empty or holds other things than scalars."""
    types = frozenset(map(type, values))
    if len(types) == 1:
        (only,) = types
        return only if only in SCALARS else None
    return types if types and types <= SCALARS else None
